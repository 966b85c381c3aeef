"""
What does a step in the environment cost, besides the environment itself? python benchmarks/collect.py

Time per step of the vectorised environment with SB3's SAC and with SoftAC (acting with a policy of HalfCheetah's shape,
storing, callbacks; no gradient steps), in an environment that does nothing, minus the time that this environment takes
alone. SAC and SoftAC take turns of 200 steps; times and ratios are medians over the rounds.
"""

import argparse
import json
import os
import time
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from stable_baselines3.common.vec_env import DummyVecEnv
from update_speed import processor, versions

from sac_ext import SoftAC

STEPS = 200


class Nothing(gym.Env):
    """Episodes of 200 steps in which nothing happens."""

    observation_space = spaces.Box(-np.inf, np.inf, (17,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (6,), np.float32)
    nowhere = np.zeros(17, np.float32)
    steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.nowhere, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self.nowhere, 0.0, False, self.steps % 200 == 0, {}


class Turn:
    """``STEPS`` steps of one algorithm; without one, of the environment alone."""

    def __init__(self, algorithm: Any, n_envs: int) -> None:
        self.env = DummyVecEnv([Nothing] * n_envs)
        self.env.reset()
        self.model = None
        if algorithm is not None:
            self.model = algorithm("MlpPolicy", self.env, learning_starts=0, buffer_size=100_000, device="cpu", seed=0)
            _, self.callback = self.model._setup_learn(10**9)

    def microseconds(self) -> float:
        start = time.perf_counter()
        if self.model is None:
            actions = np.zeros((self.env.num_envs, 6), np.float32)
            for _ in range(STEPS):
                self.env.step(actions)
        else:
            self.model.collect_rollouts(
                self.env,
                train_freq=TrainFreq(STEPS, TrainFrequencyUnit.STEP),
                callback=self.callback,
                replay_buffer=self.model.replay_buffer,
            )
        return (time.perf_counter() - start) / STEPS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    th.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:1]))
    report: dict[str, Any] = {"versions": versions(), "hardware": processor(), "n_envs": {}}
    for n_envs in (1, 16):
        turns = {"SAC": Turn(SAC, n_envs), "SoftAC": Turn(SoftAC, n_envs), "environment": Turn(None, n_envs)}
        rounds = [{name: turn.microseconds() for name, turn in turns.items()} for _ in range(options.rounds + 1)][1:]
        own = [{name: taken[name] - taken["environment"] for name in ("SAC", "SoftAC")} for taken in rounds]
        report["n_envs"][n_envs] = {
            "microseconds": {name: round(median(taken[name] for taken in own), 1) for name in ("SAC", "SoftAC")},
            "to_sac": round(median(taken["SoftAC"] / taken["SAC"] for taken in own), 3),
        }
        print(n_envs, report["n_envs"][n_envs], flush=True)
    (Path(__file__).parent / "results" / "collect.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
