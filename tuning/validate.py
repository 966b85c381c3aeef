"""``softac-tune validate``: what the best trials are worth on seeds that no trial has seen."""

import argparse
import json
import multiprocessing
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
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
    winner = max(trials, key=lambda contender: interquartile_mean(validated[contender.name]))
    others = [Contender(BASELINE, "SoftAC", settings.env, settings.entry, {})]
    if not options.no_sb3:
        others.append(sb3_contender(settings))
    test_seeds = range(FIRST_TEST_SEED, FIRST_TEST_SEED + options.test_seeds)
    tested = runs.scores("test", [winner, *others], test_seeds)
    compared = {other.name: compare(tested[winner.name], tested[other.name]) for other in others}
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
        "versions": versions(),
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

    def scores(self, stage: str, contenders: Iterable[Contender], seeds: Iterable[int]) -> dict[str, list[float]]:
        """
        :param stage: to show
        :param contenders: what to train
        :param seeds: of each
        :return: by name, the score of each seed
        """
        contenders, seeds = list(contenders), list(seeds)
        known = self._known()
        missing = [(each, seed) for each in contenders for seed in seeds if self._key(each, seed) not in known]
        context = multiprocessing.get_context("spawn")
        with (
            tqdm(
                total=len(contenders) * len(seeds), initial=len(contenders) * len(seeds) - len(missing), desc=stage
            ) as bar,
            ProcessPoolExecutor(self.options.jobs, context, initializer=_one_thread) as pool,
        ):
            futures = {
                pool.submit(run_once, self.settings, each, seed, self.options.episodes, self.options.device): (
                    each,
                    seed,
                )
                for each, seed in missing
            }
            for future in as_completed(futures):
                contender, seed = futures[future]
                curve = future.result()
                line = {"key": self._key(contender, seed), "stage": stage, "name": contender.name, "seed": seed}
                line |= {"score": self.settings.protocol.score(curve), "curve": curve}
                with self.path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                bar.update()
        known = self._known()
        return {each.name: [known[self._key(each, seed)] for seed in seeds] for each in contenders}

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
        """All that the score depends on."""
        what = asdict(contender) | {"name": ""}
        return json.dumps(
            [what, asdict(self.settings.protocol), self.options.episodes, seed], sort_keys=True, default=str
        )


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

    return train(make_model, contender.env, seed, settings.protocol, final_episodes=episodes)


def sb3_contender(settings: Settings) -> Contender:
    """:return: SB3's SAC on Box, DQN on Discrete, PPO on the rest, with rl-baselines3-zoo's parameters if any"""
    space = settings.env.action_space()
    name = "SAC" if isinstance(space, spaces.Box) else "DQN" if isinstance(space, spaces.Discrete) else "PPO"
    env_id = settings.env.env_id.rpartition(":")[2]
    try:
        config = Path(str(files("rl_zoo3") / "hyperparams" / f"{name.lower()}.yml"))
        entry = load_entry(config, env_id)
    except (ImportError, ValueError):
        entry = {}
    return Contender(
        f"SB3's {name}", name, EnvironmentSpec.of_entry(settings.env.env_id, entry, settings.env.env_kwargs), entry, {}
    )


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


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    th.set_num_threads(1)
