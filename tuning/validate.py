"""``softac-tune validate``: how good the best trials are on seeds that no trial has seen."""

import argparse
import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

from gymnasium import spaces
from optuna.trial import FrozenTrial

from .entries import load_entry
from .places import add_place_options, place_of
from .report import validation_text
from .runs import Contender, Runs
from .settings import Settings, settings_of
from .statistics import compare, interquartile_mean
from .storage import open_storage
from .study import FIRST_TEST_SEED, FIRST_VALIDATION_SEED
from .trials import AS_IS, book_of
from .worker import load_study

BASELINE = "baseline"
_LARGEST = {"top": 1000, "validation_seeds": 900, "test_seeds": 10**5, "episodes": 10**6, "jobs": 1000}
"""Upper limits of numeric options."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Define the options of ``validate``.

    :param parser: parser of this command
    """
    add_place_options(parser)
    parser.add_argument("--top", type=int, default=5, help="number of best trials to validate; default: 5")
    parser.add_argument(
        "--validation-seeds", type=int, default=10, help="number of seeds to choose the winner on; default: 10"
    )
    parser.add_argument(
        "--test-seeds", type=int, default=10, help="number of new seeds to compare the winner on; default: 10"
    )
    parser.add_argument(
        "--episodes", type=int, default=50, help="episodes of the evaluation after training; default: 50"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of processes; default: 1")
    parser.add_argument("--device", default="auto", help="device to train on; default: auto")
    parser.add_argument("--no-sb3", action="store_true", help="do not compare with SB3's algorithm")


def run(options: argparse.Namespace) -> int:
    """
    Choose the winner among the best trials on validation seeds, and compare it with others on test seeds.

    :param options: command-line options
    :return: exit status
    :raises ValueError: if no trial is complete, all of the best fail in validation, or the winner fails in the test
    """
    for name, most in _LARGEST.items():
        value = getattr(options, name)
        if not 1 <= value <= most:
            raise ValueError(f"--{name.replace('_', '-')} must be between 1 and {most}, got {value}")
    place = place_of(options)
    study = load_study(open_storage(place.storage), place.study)
    settings = settings_of(study)
    best = book_of(study).best(options.top)
    if not best:
        raise ValueError("No trial is complete yet; see `softac-tune status`")
    place.folder.mkdir(parents=True, exist_ok=True)
    runs = Runs(place.folder / "validation.jsonl", settings, options.episodes, options.jobs, options.device)

    trials = [_contender(trial, settings) for trial in best]
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
        "tuning_scores": {_name(trial): trial.value for trial in best},
        "validation_scores": validated,
        "winner": winner.name,
        "params": winner.params,
        "test_scores": tested,
        "contenders": {other.name: {"algorithm": other.algorithm, "entry": other.entry} for other in others},
        "comparisons": {name: asdict(each) for name, each in compared.items()},
        "failures": runs.failed,
        "versions": runs.versions,
    }
    text = validation_text(report, compared)
    (place.folder / "validation.json").write_text(json.dumps(report, indent=1, default=str) + "\n")
    (place.folder / "validation.md").write_text(text)
    print(text)
    print(
        f"Saved in {place.folder}/validation.md and .json. To write the winner as a zoo entry: softac-tune best "
        f"--study {place.study} --trial {winner.name.split()[1]} -o best.yml"
    )
    return 0


def _contender(trial: FrozenTrial, settings: Settings) -> Contender:
    params = {} if trial.user_attrs.get(AS_IS) else dict(trial.params)
    return Contender(_name(trial), "SoftAC", settings.env, settings.entry, params)


def _name(trial: FrozenTrial) -> str:
    return f"trial {trial.number}"


def sb3_contender(settings: Settings) -> Contender:
    """
    Choose SB3's algorithm for the study's actions: SAC on Box, DQN on Discrete, PPO otherwise. It trains in the same
    environment with the same wrappers, with rl-baselines3-zoo's arguments if the zoo has an entry for it.

    :param settings: settings of the study
    :return: the algorithm to compare the winner with
    """
    space = settings.env.action_space()
    if isinstance(space, spaces.Box):
        name = "SAC"
    elif isinstance(space, spaces.Discrete):
        name = "DQN"
    else:
        name = "PPO"
    try:
        entry = load_entry(Path(str(files("rl_zoo3") / "hyperparams" / f"{name.lower()}.yml")), settings.env.name)
    except (ImportError, ValueError):
        entry = {}
    policy = {"policy": settings.entry["policy"]} if "policy" in settings.entry else {}
    return Contender(f"SB3's {name}", name, settings.env, {**entry, **policy}, {})
