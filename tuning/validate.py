"""``softac-tune validate``: what the best trials are worth on seeds that no trial has seen."""

import argparse
import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from sac_ext import SoftAC
from sac_ext.arguments import parse_schedule

from .entries import arguments_of, load_entry
from .environments import EnvironmentSpec
from .evaluate import Protocol, train
from .places import add_place_options, place_of
from .settings import Settings, settings_of, versions
from .statistics import Comparison, compare, interquartile_mean, interval
from .storage import open_storage
from .study import FIRST_TEST_SEED, FIRST_VALIDATION_SEED
from .trials import AS_IS, book_of
from .worker import load_study

BASELINE = "baseline"
_SCHEDULES = ("learning_rate", "clip_range")
_CODE = ("sac-ext", "revision", "seeding", "stable-baselines3", "torch")
"""Versions that a score depends on: one of another version is not taken from the file."""


@dataclass(frozen=True)
class Contender:
    """
    Arguments of an algorithm, such that another process can make it.

    :param name: ``trial 7``, ``baseline``, or of SB3's algorithm
    :param algorithm: ``SoftAC``, or the name of a class of SB3
    :param env: to train in
    :param entry: arguments as a zoo entry has them
    :param params: of the study's space, which change them
    """

    name: str
    algorithm: str
    env: EnvironmentSpec
    entry: dict[str, Any]
    params: dict[str, Any]


def add_options(parser: argparse.ArgumentParser) -> None:
    """:param parser: of this command"""
    add_place_options(parser)
    parser.add_argument("--top", type=int, default=5, help="trials that are validated; default: 5")
    parser.add_argument("--validation-seeds", type=int, default=10, help="to choose the winner by; default: 10")
    parser.add_argument("--test-seeds", type=int, default=10, help="to compare it with others on; default: 10")
    parser.add_argument("--episodes", type=int, default=50, help="of the evaluation after training; default: 50")
    parser.add_argument("--jobs", type=int, default=1, help="processes; default: 1")
    parser.add_argument("--device", default="auto", help="to train on; default: auto")
    parser.add_argument("--no-sb3", action="store_true", help="leave SB3's algorithm out")


def run(options: argparse.Namespace) -> int:
    """
    :param options: of the command line
    :return: exit status
    :raises ValueError: if no trial is complete
    """
    for name, most in (
        ("top", 1000),
        ("validation_seeds", 900),
        ("test_seeds", 10**5),
        ("episodes", 10**6),
        ("jobs", 1000),
    ):
        if not 1 <= getattr(options, name) <= most:
            raise ValueError(f"--{name.replace('_', '-')} must be between 1 and {most}, got {getattr(options, name)}")
    place = place_of(options)
    study = load_study(open_storage(place.storage), place.study)
    settings, book = settings_of(study), book_of(study)
    best = book.best(options.top)
    if not best:
        raise ValueError("No trial is complete yet; see `softac-tune status`")
    place.folder.mkdir(parents=True, exist_ok=True)
    runs = Runs(place.folder / "validation.jsonl", settings, options)
    trials = [
        Contender(
            f"trial {trial.number}",
            "SoftAC",
            settings.env,
            settings.entry,
            {} if trial.user_attrs.get(AS_IS) else dict(trial.params),
        )
        for trial in best
    ]
    validation_seeds = range(FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + options.validation_seeds)
    validated = runs.scores("validation", trials, validation_seeds)
    if not validated:
        raise ValueError(f"every one of the best trials fails on validation seeds:\n{runs.failures()}")
    able = [trial for trial in trials if trial.name in validated]
    winner = max(able, key=lambda contender: interquartile_mean(validated[contender.name]))
    others = [Contender(BASELINE, "SoftAC", settings.env, settings.entry, {})]
    if not options.no_sb3:
        others.append(sb3_contender(settings))
    test_seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + options.test_seeds)
    tested = runs.scores("test", [winner, *others], test_seeds)
    if winner.name not in tested:
        raise ValueError(f"{winner.name}, the winner, fails on test seeds:\n{runs.failures()}")
    compared = {
        other.name: compare(tested[winner.name], tested[other.name]) for other in others if other.name in tested
    }
    report = {
        "study": place.study,
        "settings": settings.to_dict(),
        "seeds": {"tuning": settings.seeds, "validation": list(validation_seeds), "test": list(test_seeds)},
        "episodes_after_training": options.episodes,
        "tuning_scores": {f"trial {trial.number}": trial.value for trial in best},
        "validation_scores": validated,
        "winner": winner.name,
        "params": winner.params,
        "test_scores": tested,
        "contenders": {other.name: {"algorithm": other.algorithm, "entry": other.entry} for other in others},
        "comparisons": {name: asdict(each) for name, each in compared.items()},
        "failures": runs.failed,
        "versions": runs.versions,
    }
    text = report_text(report, compared)
    (place.folder / "validation.json").write_text(json.dumps(report, indent=1, default=str) + "\n")
    (place.folder / "validation.md").write_text(text)
    print(text)
    print(
        f"In {place.folder}/validation.md and .json. As a zoo entry: softac-tune best --study {place.study} --trial "
        f"{winner.name.split()[1]} -o best.yml"
    )
    return 0


class Runs:
    """
    Training runs whose scores are appended to a file, so that none is done twice.

    :param path: JSON lines
    :param settings: of the study
    :param options: of the command line
    """

    def __init__(self, path: Path, settings: Settings, options: argparse.Namespace) -> None:
        self.path, self.settings, self.options = path, settings, options
        self.versions = versions()
        self.failed: dict[str, str] = {}
        """By contender and seed, what went wrong."""

    def scores(self, stage: str, contenders: Iterable[Contender], seeds: Iterable[int]) -> dict[str, list[float]]:
        """
        :param stage: to show
        :param contenders: what to train
        :param seeds: of each
        :return: by name, the score of each seed, for those that fail on none
        """
        contenders, seeds = list(contenders), list(seeds)
        known = self._known()
        missing = [(each, seed) for each in contenders for seed in seeds if self._key(each, seed) not in known]
        total = len(contenders) * len(seeds)
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.options.jobs, context, initializer=_prepare, initargs=(os.getpid(),))
        # SIGINT too: a process that a script starts in the background ignores it otherwise
        stopping = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, signal.default_int_handler) for number in stopping}
        try:
            with tqdm(total=total, initial=total - len(missing), desc=stage) as bar:
                futures = {
                    pool.submit(run_once, self.settings, each, seed, self.options.episodes, self.options.device): (
                        each,
                        seed,
                    )
                    for each, seed in missing
                }
                for future in as_completed(futures):
                    self._keep(stage, *futures[future], future)
                    bar.update()
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.terminate()
            print("\nInterrupted. What is done is kept; the same command goes on.")
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for number, handler in previous.items():
                signal.signal(number, handler)
        known = self._known()
        keys = {each.name: [self._key(each, seed) for seed in seeds] for each in contenders}
        return {name: [known[key] for key in needed] for name, needed in keys.items() if known.keys() >= set(needed)}

    def failures(self) -> str:
        """:return: a line for each run that failed"""
        return "\n".join(f"  {run}: {why}" for run, why in self.failed.items())

    def _keep(self, stage: str, contender: Contender, seed: int, future: "Future[list[tuple[int, float]]]") -> None:
        try:
            curve = future.result()
        except Exception as error:
            self.failed[f"{contender.name}, seed {seed}"] = f"{type(error).__name__}: {error}"
            return
        line = {"key": self._key(contender, seed), "stage": stage, "name": contender.name, "seed": seed}
        line |= {"score": self.settings.protocol.score(curve), "curve": curve, "versions": self.versions}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def _known(self) -> dict[str, float]:
        if not self.path.exists():
            return {}
        found = {}
        for line in self.path.read_text().splitlines():
            try:
                content = json.loads(line)
            except ValueError:  # the end of a process that was killed
                continue
            found[content["key"]] = content["score"]
        return found

    def _key(self, contender: Contender, seed: int) -> str:
        """All that the score depends on, the code included."""
        what = asdict(contender) | {"name": ""}
        space = self.settings.space if contender.params else {}
        code = {name: self.versions.get(name) for name in _CODE}
        parts = [what, space, asdict(self.settings.protocol), self.options.episodes, seed, code]
        return json.dumps(parts, sort_keys=True, default=str)


def run_once(
    settings: Settings, contender: Contender, seed: int, episodes: int, device: str
) -> list[tuple[int, float]]:
    """:return: steps and mean returns of one training run"""
    import stable_baselines3

    arguments = arguments_of(contender.entry)
    if contender.algorithm == "SoftAC":
        arguments = settings.parsed_space().arguments(contender.params, arguments)
        algorithm: Any = SoftAC
    else:
        algorithm = getattr(stable_baselines3, contender.algorithm)
        scheduled = {name: arguments[name] for name in _SCHEDULES if isinstance(arguments.get(name), str)}
        arguments |= {name: parse_schedule(name, value) for name, value in scheduled.items()}

    def make_model(env: VecEnv, seed: int) -> BaseAlgorithm:
        model: BaseAlgorithm = algorithm(**arguments, env=env, seed=seed, device=device)
        return model

    env = contender.env.with_discount(arguments.get("gamma"))
    return train(make_model, env, seed, settings.protocol, final_episodes=episodes)


def sb3_contender(settings: Settings) -> Contender:
    """
    :param settings: of the study
    :return: SB3's SAC on Box, DQN on Discrete, PPO on the rest, in the same environment with the same wrappers, with
        rl-baselines3-zoo's arguments if it has some
    """
    space = settings.env.action_space()
    name = "SAC" if isinstance(space, spaces.Box) else "DQN" if isinstance(space, spaces.Discrete) else "PPO"
    try:
        entry = load_entry(Path(str(files("rl_zoo3") / "hyperparams" / f"{name.lower()}.yml")), settings.env.name)
    except (ImportError, ValueError):
        entry = {}
    policy = {"policy": settings.entry["policy"]} if "policy" in settings.entry else {}
    return Contender(f"SB3's {name}", name, settings.env, {**entry, **policy}, {})


def report_text(report: Mapping[str, Any], compared: Mapping[str, Comparison]) -> str:
    """:return: Markdown"""
    seeds, scores = report["seeds"], report["test_scores"]
    protocol: Protocol = Settings.from_dict(report["settings"]).protocol
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
        comparison = compared.get(name)
        rest = (
            "| | |"
            if comparison is None
            else f"| {comparison.probability_of_improvement:.2f} | {_verdict(comparison)} |"
        )
        lines.append(f"| {name}{', the winner' if comparison is None else ''} | {_cell(values)} {rest}")
    lines += [f"\n{run} failed: {why}" for run, why in report["failures"].items()]
    lines += ["", "The winner's parameters:", "", "```yaml"]
    lines += [f"{name}: {value}" for name, value in report["params"].items()] or ["# those of the zoo entry"]
    return "\n".join([*lines, "```", ""])


def _verdict(comparison: Comparison) -> str:
    low, high = comparison.interval
    return f"{comparison.verdict} ({comparison.difference:+.2f}; {low:+.2f} to {high:+.2f})"


def _cell(values: list[float]) -> str:
    low, high = interval(values)
    return f"{interquartile_mean(values):.2f} ({low:.2f} to {high:.2f})"


def _span(seeds: list[int]) -> str:
    return str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"


def _prepare(parent: int) -> None:
    """A process of the pool: one thread, deaf to Ctrl-C, which the parent sees to, and gone when the parent is."""
    th.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
