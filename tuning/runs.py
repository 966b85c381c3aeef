"""Training runs that are kept in a file as soon as they end, so that none is repeated."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from tqdm import tqdm

from sac_ext import SoftAC
from sac_ext.arguments import parse_schedule

from .entries import arguments_of
from .environments import EnvironmentSpec
from .evaluate import train
from .settings import Settings, versions

_SCHEDULES = ("learning_rate", "clip_range")
_CODE = ("sac-ext", "revision", "seeding", "stable-baselines3", "torch")
"""Versions that a score depends on: scores of other versions are not taken from the file."""


@dataclass(frozen=True)
class Contender:
    """
    An algorithm to compare, described by its arguments so that another process can make it.

    :param name: ``trial 7``, ``baseline``, or the name of SB3's algorithm
    :param algorithm: ``SoftAC``, or the name of a class of SB3
    :param env: environment to train in
    :param entry: arguments as in a zoo entry
    :param params: parameters of the study's space, which change these arguments
    """

    name: str
    algorithm: str
    env: EnvironmentSpec
    entry: dict[str, Any]
    params: dict[str, Any]


class Runs:
    """
    The runs of a validation, done by several processes at once.

    :param path: file with a JSON line for each finished run
    :param settings: settings of the study
    :param episodes: episodes of the evaluation after training
    :param jobs: number of processes
    :param device: device to train on
    """

    def __init__(self, path: Path, settings: Settings, episodes: int, jobs: int = 1, device: str = "auto") -> None:
        self.path, self.settings = path, settings
        self.episodes, self.jobs, self.device = episodes, jobs, device
        self.versions = versions()
        self.failed: dict[str, str] = {}
        """What went wrong, by contender and seed."""

    def scores(self, stage: str, contenders: Iterable[Contender], seeds: Iterable[int]) -> dict[str, list[float]]:
        """
        Do the runs that are not in the file yet.

        :param stage: name of the stage, to show and to record
        :param contenders: what to train
        :param seeds: seeds to train each contender with
        :return: by name, the score of each seed, for the contenders that fail on no seed
        """
        contenders, seeds = list(contenders), list(seeds)
        known = self._known()
        missing = [(each, seed) for each in contenders for seed in seeds if self._key(each, seed) not in known]
        self._do(stage, missing, total=len(contenders) * len(seeds))
        known = self._known()
        keys = {each.name: [self._key(each, seed) for seed in seeds] for each in contenders}
        return {name: [known[key] for key in needed] for name, needed in keys.items() if known.keys() >= set(needed)}

    def failures(self) -> str:
        """:return: a line for each run that failed"""
        return "\n".join(f"  {run}: {why}" for run, why in self.failed.items())

    def _do(self, stage: str, runs: list[tuple[Contender, int]], total: int) -> None:
        """Do these runs, and show how many of the total are done; on a signal, end the processes."""
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.jobs, context, initializer=_prepare, initargs=(os.getpid(),))
        # SIGINT too: a process that a script starts in the background ignores it otherwise
        stopping = (signal.SIGINT, signal.SIGTERM)
        previous = {number: signal.signal(number, signal.default_int_handler) for number in stopping}
        try:
            with tqdm(total=total, initial=total - len(runs), desc=stage) as bar:
                futures = {
                    pool.submit(run_once, self.settings, contender, seed, self.episodes, self.device): (contender, seed)
                    for contender, seed in runs
                }
                for future in as_completed(futures):
                    contender, seed = futures[future]
                    self._keep(stage, contender, seed, future)
                    bar.update()
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.terminate()
            print("\nInterrupted. Finished runs are kept; run the same command again to continue.")
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _keep(self, stage: str, contender: Contender, seed: int, future: "Future[list[tuple[int, float]]]") -> None:
        """Append the run to the file, or record why it failed."""
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
        """:return: the scores in the file, by what they depend on"""
        if not self.path.exists():
            return {}
        found = {}
        for line in self.path.read_text().splitlines():
            try:
                content = json.loads(line)
            except ValueError:  # an incomplete line of a killed process
                continue
            found[content["key"]] = content["score"]
        return found

    def _key(self, contender: Contender, seed: int) -> str:
        """:return: all that the score depends on, including the code"""
        what = asdict(contender) | {"name": ""}
        space = self.settings.space if contender.params else {}
        code = {name: self.versions.get(name) for name in _CODE}
        parts = [what, space, asdict(self.settings.protocol), self.episodes, seed, code]
        return json.dumps(parts, sort_keys=True, default=str)


def run_once(
    settings: Settings, contender: Contender, seed: int, episodes: int, device: str
) -> list[tuple[int, float]]:
    """
    Train a contender, in a process of the pool.

    :param settings: settings of the study
    :param contender: what to train
    :param seed: seed of the run
    :param episodes: episodes of the evaluation after training
    :param device: device to train on
    :return: environment steps and mean return of each evaluation
    """
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


def _prepare(parent: int) -> None:
    """Set up a process of the pool: one thread, Ctrl-C left to the parent, and an end when the parent ends."""
    th.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        """End this process when its parent has ended."""
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
