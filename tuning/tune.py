"""``softac-tune tune``: create or resume a study, and run it with several processes."""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import optuna
from tqdm import tqdm

from .crew import Crew
from .dry_run import dry_run
from .evaluate import METRICS
from .interrupts import Interrupts
from .journal import Owner
from .places import Place, add_place_options, parse_duration, place_of
from .report import best_lines, summary
from .settings import PRUNERS, SAMPLERS, VERSIONS, versions
from .storage import HEARTBEAT_SECONDS, is_url, open_storage, shown
from .study import (
    Asked,
    create_or_resume,
    parse_pairs,
    settings_from,
    smoke_test,
    stored_settings,
)
from .trials import Book, book_of, reap, requeue_lost

_REFRESH_SECONDS = 0.5
_GRACE_SECONDS = 120.0  # for a worker to leave its trial
_MAX_DEATHS = 10  # of workers, with no trial finished in between
_TRIALS, _DEFAULT_TRIALS = "trials", 50


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Define the options of ``tune``.

    :param parser: parser of this command
    """
    add_place_options(parser)
    add_limit_options(parser)
    parser.add_argument("--env", metavar="ID", help="environment, such as CartPole-v1 or module:id")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes; default: 1")
    parser.add_argument("--gpus", metavar="0,1", help="CUDA devices, assigned to the processes in turn")
    parser.add_argument("--timeout", metavar="30m", help="stop after this time; the same command resumes the study")
    parser.add_argument("--dry-run", action="store_true", help="print search space, steps and estimated time, and exit")
    study = parser.add_argument_group(
        "the study", "recorded in the study; options that a later call leaves out keep their recorded values"
    )
    study.add_argument("--seeds", type=int, help="training runs of each trial, each with its own seed; default: 1")
    study.add_argument("--steps", type=int, help="environment steps of each run; default: n_timesteps of the zoo entry")
    study.add_argument("--evaluations", type=int, help="evaluations of each run; default: 10")
    study.add_argument("--episodes", type=int, help="episodes of each evaluation; default: 10")
    study.add_argument(
        "--metric",
        choices=METRICS,
        help="score of a run; default: final, the mean of the last fifth of the evaluations",
    )
    study.add_argument(
        "--space",
        metavar="box|discrete|FILE",
        help="search space; default: box or discrete, depending on the action space",
    )
    study.add_argument(
        "--tune",
        nargs="+",
        metavar="NAME",
        help="optional parameters of the space to tune as well: gamma, batch_size, ...",
    )
    study.add_argument("--sampler", choices=SAMPLERS, help="default: tpe")
    study.add_argument("--sampler-seed", type=int, help="default: 0")
    study.add_argument("--pruner", choices=PRUNERS, help="default: median")
    study.add_argument("--conf-file", metavar="FILE", help="file of zoo configurations; default: that of this package")
    study.add_argument("--env-kwargs", nargs="+", metavar="K:V", help="keyword arguments of the environment")
    study.add_argument("-params", "--hyperparams", nargs="+", metavar="K:V", help="changes to the zoo entry")


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """
    Define the options that ``tune`` and ``worker`` share.

    :param parser: parser of ``tune`` or ``worker``
    """
    parser.add_argument("--trials", type=int, help="total number of trials in the study; default: as before, or 50")
    parser.add_argument(
        "--max-failures", type=int, default=5, help="stop after this many failures in a row; default: 5"
    )
    parser.add_argument("--threads", type=int, default=1, help="torch threads in each process; default: 1")
    parser.add_argument("--device", default="auto", help="device to train on; default: auto")
    parser.add_argument(
        "--heartbeat",
        type=int,
        default=HEARTBEAT_SECONDS,
        metavar="SECONDS",
        help="time between the heartbeats of a running trial, in a database; a trial without one for three times as "
        f"long counts as lost; default: {HEARTBEAT_SECONDS}",
    )


def check_limits(options: argparse.Namespace) -> None:
    """:raises ValueError: for a number that is too small"""
    for name in ("trials", "max_failures", "threads", "heartbeat", "jobs"):
        value = getattr(options, name, None)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be at least 1, got {value}")


def run(options: argparse.Namespace) -> int:
    """
    Create or resume the study, and run its trials.

    :param options: command-line options
    :return: exit status
    :raises ValueError: if something cannot work, before any trial is run
    """
    check_limits(options)
    deadline = None if options.timeout is None else time.time() + parse_duration(options.timeout)
    asked = _asked(options)
    place = place_of(options)
    if options.dry_run:
        return dry_run(asked, place, options.trials or _DEFAULT_TRIALS, options)
    owner, is_new = None, False
    if not is_url(place.storage):
        is_new = not Path(place.storage).exists()
        owner = Owner(Path(place.storage))
        owner.take(place.study)
    try:
        storage = open_storage(place.storage, create=True, heartbeat=options.heartbeat)
        stored = stored_settings(storage, place.study)
        try:
            settings = settings_from(asked, stored)
            if stored is None:
                smoke_test(settings)
        except BaseException:
            if is_new:  # or commands without --study would find a journal without a study
                Path(place.storage).unlink(missing_ok=True)
            raise
        study = create_or_resume(storage, place.study, settings)
        if options.trials is None:
            options.trials = wanted_trials(study)
        study.set_user_attr(_TRIALS, options.trials)
        _tell_what_was_lost(study)
        _tell_of_other_versions(study)
        return _run(study, place, options, deadline)
    finally:
        if owner is not None:
            owner.release()


def wanted_trials(study: optuna.Study) -> int:
    """:return: number of trials that was asked for last"""
    return int(study.user_attrs.get(_TRIALS, _DEFAULT_TRIALS))


def _asked(options: argparse.Namespace) -> Asked:
    """:return: what the command line asks for"""
    pairs = {name: getattr(options, name) for name in ("env_kwargs", "hyperparams")}
    parsed: dict[str, Any] = {name: None if value is None else parse_pairs(value) for name, value in pairs.items()}
    names = ("env", "conf_file", "space", "tune", "seeds", "steps", "evaluations", "episodes", "metric", "sampler")
    given = {name: getattr(options, name) for name in (*names, "sampler_seed", "pruner")}
    return Asked(**parsed, **given)


def _tell_what_was_lost(study: optuna.Study) -> None:
    """Requeue the trials whose process is gone, and say so."""
    found = sorted(reap(study) + requeue_lost(study))
    if found:
        print(f"Trials {', '.join(map(str, found))} did not finish, and will be repeated.")


def _tell_of_other_versions(study: optuna.Study) -> None:
    """Warn if the study began with other versions or on other hardware."""
    before, now = study.user_attrs.get(VERSIONS, {}), versions()
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    changed = [f"{name} {before.get(name, 'unknown')}, now {now.get(name, 'unknown')}" for name in names]
    if changed:
        print(f"Warning: the study began with {'; '.join(changed)}. Its scores may not be comparable.")


def _run(study: optuna.Study, place: Place, options: argparse.Namespace, deadline: float | None) -> int:
    """Start the workers, wait until they have ended, and print what the study has reached."""
    book = book_of(study)
    print(f"Study {place.study} in {shown(place.storage)}: {summary(book)}; {options.trials} trials wanted.")
    if len(book.finished) >= options.trials:
        print("\n".join(best_lines(study)))
        return 0
    worker_options = ["--trials", str(options.trials), "--max-failures", str(options.max_failures)]
    worker_options += [
        "--threads",
        str(options.threads),
        "--device",
        options.device,
        "--heartbeat",
        str(options.heartbeat),
    ]
    if deadline is not None:
        worker_options += ["--deadline", repr(deadline)]
    gpus = [] if options.gpus is None else options.gpus.split(",")
    crew = Crew(place, options.jobs, worker_options, gpus)
    interrupts = Interrupts(deadline)
    interrupts.catch_signals()
    try:
        crew.start()
        aborted = _watch(study, crew, interrupts, options.trials)
    finally:
        crew.kill()
    book = book_of(study)
    print("\n".join(best_lines(study)))
    if aborted:
        print("Aborted. Run the same command again to continue; trials that were running will be repeated.")
        return 130
    if len(book.finished) >= options.trials:
        return 0
    if crew.gave_up or crew.deaths >= _MAX_DEATHS:
        print(f"Stopped after failures. Last output of the workers:\n{crew.last_words()}")
        return 1
    print(f"Stopped ({interrupts.reason or 'the workers have ended'}). Run the same command again to continue.")
    return 0


def _watch(study: optuna.Study, crew: Crew, interrupts: Interrupts, trials: int) -> bool:
    """
    Show the progress of the study until all workers have ended, and ask them to end if there is a reason to stop.

    :return: whether the user aborted the study by a second signal
    """
    stopping: float | None = None
    first = finished = len(book_of(study).finished)
    with tqdm(total=trials, initial=first, unit="trial", dynamic_ncols=True) as bar:
        while True:
            at_work = crew.watch(replace=stopping is None and crew.deaths < _MAX_DEATHS)
            book = book_of(study)
            _show(bar, book)
            if len(book.finished) > finished:
                finished, crew.deaths = len(book.finished), 0
            if at_work == 0:
                return False
            if interrupts.signals > 1:
                return True
            if stopping is not None and time.time() > stopping + _GRACE_SECONDS:
                bar.write("A worker did not leave its trial in time; it is killed, and the trial will be repeated.")
                return False
            if stopping is None and (interrupts.reason is not None or crew.gave_up):
                stopping = time.time()
                if interrupts.signals:
                    bar.write(
                        "Stopping the running trials, which will be repeated later. Interrupt again to abort at once."
                    )
                crew.stop()
            interrupts.wait(_REFRESH_SECONDS)


def _show(bar: "tqdm[Any]", book: Book) -> None:
    """Update the progress bar."""
    before = (bar.n, bar.postfix)
    bar.n = len(book.finished)
    best, baseline = book.best(), book.baseline
    parts: dict[str, Any] = {}
    if best:
        parts["best"] = f"{best[0].value:.2f} (#{best[0].number})"
    if baseline is not None:
        parts["baseline"] = f"{baseline.value:.2f}"
    parts |= {"running": len(book.running), "pruned": len(book.pruned)}
    if book.failed:
        parts["failed"] = len(book.failed)
    bar.set_postfix(parts, refresh=False)
    if sys.stderr.isatty() or (bar.n, bar.postfix) != before:
        bar.refresh()
