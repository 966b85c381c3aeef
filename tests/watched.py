"""Environments that remember what was done to them, and short training runs in them."""

import contextlib
import copy
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from sac_ext.tuning.environments import EnvironmentSpec
from sac_ext.tuning.evaluate import EVALUATION_SEED_OFFSET, Evaluation, Protocol, evaluate
from tests.catalogue import MaskedEnv, RandomEnv, small

METADATA = {"render_modes": ["rgb_array"], "render_fps": 1}  # SB3 asks for rgb_array, gymnasium warns without


class WatchedEnv(RandomEnv):
    """Remembers what was done to it. Its space is its own, so that no environment draws another's observations."""

    metadata = METADATA
    made: ClassVar[list["WatchedEnv"]] = []

    def __init__(self, render_mode: str | None = None, reward: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observation_space = copy.deepcopy(self.observation_space)
        self.render_mode, self.reward = render_mode, reward
        self.seeds: list[int] = []
        self.steps, self.closed = 0, False
        WatchedEnv.made.append(self)

    @property
    def evaluates(self) -> bool:
        return bool(self.seeds) and self.seeds[0] >= EVALUATION_SEED_OFFSET

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        if seed is not None:
            self.seeds.append(seed)
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = super().step(action)
        self.steps += 1
        if self.reward is not None:
            reward, terminated = self.reward, False
        return obs, reward, terminated, truncated, info

    def close(self) -> None:
        self.closed = True


class BadlyEvaluatedEnv(WatchedEnv):
    """Rewards that are none, where it is evaluated."""

    def __init__(self, bad: float = math.nan, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bad = bad

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, self.bad if self.evaluates else reward, terminated, truncated, info


class RefusingEnv(RandomEnv):
    metadata = METADATA

    def __init__(self, render_mode: str | None = None, gravity: float = 1.0) -> None:
        assert gravity > 0, "gravity must be positive"
        super().__init__()


class WatchedMaskedEnv(MaskedEnv):
    metadata = METADATA

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observation_space = copy.deepcopy(self.observation_space)


class Padded(gym.ObservationWrapper):
    """A wrapper to be named in options."""

    def __init__(self, env: gym.Env, zeros: int = 1) -> None:
        super().__init__(env)
        self.zeros = zeros
        self.observation_space = spaces.Box(-1.0, 1.0, (3 + zeros,), np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.concatenate([observation, np.zeros(self.zeros, np.float32)])


IDS = {
    "Watched-v0": WatchedEnv,
    "Badly-v0": BadlyEvaluatedEnv,
    "Refusing-v0": RefusingEnv,
    "Masked-v0": WatchedMaskedEnv,
}


def params(**others: Any) -> dict[str, Any]:
    fast = {"learning_starts": 20, "batch_size": 8, "buffer_size": 200, "train_freq": 4, "policy_kwargs": small()}
    return fast | others


SHORT = Protocol(steps=60, evaluations=3, episodes=2)
WATCHED = EnvironmentSpec("Watched-v0")


def run(env: EnvironmentSpec = WATCHED, protocol: Protocol = SHORT, seeds: Any = (0,), **others: Any) -> Evaluation:
    arguments = others.pop("params", None) or params()
    return evaluate(arguments, env, seeds, others.pop("report", None), protocol=protocol, device="cpu", **others)


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Gymnasium knows these environments, none of which has been made."""
    WatchedEnv.made.clear()
    for env_id, entry_point in IDS.items():
        gym.register(env_id, entry_point)
    yield
    for env_id in IDS:
        del gym.registry[env_id]
