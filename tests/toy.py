"""An environment that is learned in no time, and that can go wrong in every way: ``tests.toy:Toy-v0``."""

import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Toy(gym.Env):
    """
    Say which of three numbers is the largest.

    :param wrong: None, ``"exception"``, ``"nan"`` or ``"memory"``: what happens at the fifth step
    :param seconds: how long a step takes
    """

    observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space = spaces.Discrete(3)

    def __init__(self, wrong: str | None = None, seconds: float = 0.0) -> None:
        self.wrong, self.seconds, self.steps = wrong, seconds, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.length = 0
        return self._obs(), {}

    def _obs(self) -> np.ndarray:
        self.obs = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return self.obs

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        time.sleep(self.seconds)
        self.steps += 1
        self.length += 1
        reward = float(int(action) == int(np.argmax(self.obs)))
        if self.wrong is not None and self.steps >= 5:
            if self.wrong == "exception":
                raise RuntimeError("the simulator has crashed")
            if self.wrong == "memory":
                raise MemoryError("CUDA out of memory")
            reward = float("nan")
        return self._obs(), reward, False, self.length >= 5, {}


gym.register("Toy-v0", Toy)
