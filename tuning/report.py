"""The state of a study, and the results of its validation, as text."""

from collections.abc import Mapping
from datetime import datetime
from statistics import median
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from .objective import SCORES, SECONDS
from .processes import is_gone
from .settings import Settings
from .statistics import Comparison, interquartile_mean, interval
from .trials import BASELINE, PROCESS, Book, book_of, why_failed


def summary(book: Book) -> str:
    """:return: how many trials there are of each kind"""
    kinds = {"complete": book.complete, "pruned": book.pruned, "failed": book.failed, "running": book.running}
    kinds |= {"waiting": book.waiting + book.lost}
    return ", ".join(f"{len(trials)} {name}" for name, trials in kinds.items())


def trial_line(trial: FrozenTrial) -> str:
    """:return: number, score and scores of the seeds"""
    scores = ", ".join(f"{score:.2f}" for score in trial.user_attrs.get(SCORES, []))
    name = f"trial {trial.number}" + (", the baseline" if trial.user_attrs.get(BASELINE) else "")
    return f"{trial.value:.2f} ({name}; seeds: {scores})"


def best_lines(study: optuna.Study) -> list[str]:
    """:return: the best trial and the baseline"""
    book = book_of(study)
    best = book.best()
    if not best:
        return ["No trial is complete yet."]
    lines = [f"Best:     {trial_line(best[0])}"]
    if book.baseline is not None:
        lines.append(f"Baseline: {trial_line(book.baseline)}")
    if len(book.complete) > 1:
        lines.append(
            "The best of several scores is too high by chance; `softac-tune validate` measures the best on new seeds."
        )
    return lines


def status_lines(study: optuna.Study) -> list[str]:
    """:return: everything that is known about the progress of the study"""
    book = book_of(study)
    lines = [f"Study {study.study_name}: {summary(book)}"]
    done_again = [trial for trial in book.void if trial.state.is_finished()]
    if done_again:
        lines.append(f"Not counted: {len(done_again)} that were interrupted or lost and then repeated, or were surplus")
    lines += best_lines(study)
    times = [float(trial.user_attrs[SECONDS]) for trial in book.complete if SECONDS in trial.user_attrs]
    if times:
        lines.append(f"A complete trial takes {median(times):.1f} s (median)")
    now = datetime.now()
    for trial in book.running:
        process = trial.user_attrs.get(PROCESS)
        where = "?" if process is None else f"process {process['pid']} on {process['host']}"
        age = "?" if trial.datetime_start is None else f"{(now - trial.datetime_start).total_seconds():.0f} s"
        gone = (
            ": that process is gone; `softac-tune reap`, or the next `tune`, repeats the trial"
            if is_gone(process)
            else ""
        )
        steps = f", at step {trial.last_step}" if trial.last_step is not None else ""
        lines.append(f"Running: trial {trial.number} for {age}{steps}, {where}{gone}")
    for trial in book.failed:
        lines.append(f"Failed: trial {trial.number}, {why_failed(trial)}")
    return lines


def validation_text(report: Mapping[str, Any], compared: Mapping[str, Comparison]) -> str:
    """
    Write the results of a validation as tables.

    :param report: results of ``softac-tune validate``, as they are written to ``validation.json``
    :param compared: comparisons of the winner with each other contender that did not fail
    :return: Markdown
    """
    seeds, scores = report["seeds"], report["test_scores"]
    protocol = Settings.from_dict(report["settings"]).protocol
    lines = [
        f"# {report['study']}",
        "",
        f"Runs of {protocol.steps} steps, scored by `{protocol.metric}`. Seeds: tuning {_span(seeds['tuning'])}, "
        f"validation {_span(seeds['validation'])}, test {_span(seeds['test'])}.",
        "",
        "| | tuning | validation: IQM (95 % interval) |",
        "| --- | --- | --- |",
    ]
    for name, values in report["validation_scores"].items():
        lines.append(f"| {name} | {report['tuning_scores'][name]:.2f} | {_cell(values)} |")
    lines += ["", "| | test: IQM (95 % interval) | P(winner is better) | the winner is |", "| --- | --- | --- | --- |"]
    for name, values in scores.items():
        if name in compared:
            probability = compared[name].probability_of_improvement
            lines.append(f"| {name} | {_cell(values)} | {probability:.2f} | {_verdict(compared[name])} |")
        else:
            lines.append(f"| {name}, the winner | {_cell(values)} | | |")
    lines += [f"\n{run} failed: {why}" for run, why in report["failures"].items()]
    lines += ["", "The winner's parameters:", "", "```yaml"]
    lines += [f"{name}: {value}" for name, value in report["params"].items()] or ["# those of the zoo entry"]
    return "\n".join([*lines, "```", ""])


def _verdict(comparison: Comparison) -> str:
    """:return: whether the winner is better, with the difference and its interval"""
    low, high = comparison.interval
    return f"{comparison.verdict} ({comparison.difference:+.2f}; {low:+.2f} to {high:+.2f})"


def _cell(values: list[float]) -> str:
    """:return: interquartile mean and interval"""
    low, high = interval(values)
    return f"{interquartile_mean(values):.2f} ({low:.2f} to {high:.2f})"


def _span(seeds: list[int]) -> str:
    """:return: the first and the last seed"""
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
