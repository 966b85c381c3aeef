"""What the learning benchmarks share: runs are trained, evaluated, appended as JSON lines, and resumed."""

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

import sac_ext
from sac_ext.tuning.statistics import interquartile_mean

RESULTS = Path(__file__).parent / "results"
EVALUATION_SEED_OFFSET = 10_000
PACKAGES = (
    "sac_ext",
    "stable_baselines3",
    "rl_zoo3",
    "torch",
    "gymnasium",
    "numpy",
    "mujoco",
    "minatar",
    "sb3-soft",
    "sbx-rl",
)


@cache
def versions() -> dict[str, str]:
    """:return: versions of Python and packages, and the revision of the code, as they were when this was imported"""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    where = Path(sac_ext.__file__).parent
    git = partial(subprocess.run, cwd=where.parent, capture_output=True, text=True)
    changed = git(["git", "diff", "--quiet", "HEAD", "--", "*.py", "zoo_configs"]).returncode == 1
    return found | {"revision": git(["git", "rev-parse", "--short", "HEAD"]).stdout.strip() + "-changed" * changed}


versions()  # now, because the repository may change during hours of runs


def train_and_evaluate(
    make: Callable[[], BaseAlgorithm], env_id: str, steps: int, seed: int, episodes: int
) -> dict[str, Any]:
    """
    :param make: makes an algorithm with its environment
    :return: interquartile mean, mean and minimum of the returns of deterministic episodes after training, in
        environments with seeds of their own; mean returns of each tenth of training; seconds that training took. Runs
        of neighbouring seeds share four of the five evaluation environments' seeds
    """
    model = make()
    start = time.perf_counter()
    model.learn(steps)
    seconds = time.perf_counter() - start
    evaluation: VecEnv = make_vec_env(env_id, seed=seed + EVALUATION_SEED_OFFSET, n_envs=5)
    statistics = model.get_vec_normalize_env()
    if statistics is not None:
        evaluation = VecNormalize(evaluation, training=False, norm_reward=False)
        evaluation.obs_rms = statistics.obs_rms
    returns, _ = evaluate_policy(model, evaluation, episodes, return_episode_rewards=True)
    assert isinstance(returns, list)
    return {
        "iqm": round(interquartile_mean(returns), 2),
        "mean": round(float(np.mean(returns)), 2),
        "min": round(float(np.min(returns)), 2),
        "episodes": episodes,
        "training": _tenths(model, steps),
        "seconds": round(seconds, 1),
    }


def _tenths(model: BaseAlgorithm, steps: int) -> list[float | None]:
    """:return: mean return of the training episodes that ended in each tenth of training"""
    env = model.get_env()
    assert env is not None
    ends = [n * env.num_envs for lengths in env.env_method("get_episode_lengths") for n in np.cumsum(lengths)]
    returns = [total for of_one in env.env_method("get_episode_rewards") for total in of_one]
    tenth = np.clip((np.array(ends) - 1) * 10 // steps, 0, 9)
    parts = [np.array(returns)[tenth == k] for k in range(10)]
    return [round(float(part.mean()), 1) if len(part) else None for part in parts]


def read(path: Path) -> list[dict[str, Any]]:
    """:return: the JSON lines of a file, none if it does not exist"""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def missing(path: Path, jobs: list[dict[str, Any]], worker: str) -> Iterator[dict[str, Any]]:
    """
    :param path: file of results, each of which has the items of its job
    :param jobs: jobs in the order in which they are wanted
    :param worker: such as ``0/2`` for the first of two processes, which take turns
    :return: this worker's jobs that have no result yet
    """
    index, count = map(int, worker.split("/"))
    for job in jobs[index::count]:
        if not any(job.items() <= line.items() for line in read(path)):
            yield job


def append(path: Path, line: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--worker", default="0/1", help="index of this process and number of processes, such as 0/2")
    parser.add_argument("--core", type=int, help="core to run on; default: the worker's number")


def pin(options: argparse.Namespace) -> None:
    """Pin the process to one core, and torch to one thread."""
    import torch as th

    th.set_num_threads(1)
    core = int(options.worker.split("/")[0]) if options.core is None else options.core
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def check_environments(env_ids: list[str]) -> None:
    """Make the environments once, to fail now instead of after hours."""
    for env_id in env_ids:
        gym.make(env_id).close()
