"""Models that learn within action masks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from sac_ext import ActionMasksInInfo, SoftAC
from tests.catalogue import SMALL, MaskedEnv

FAST: dict[str, Any] = {"seed": 0, "learning_starts": 30, "batch_size": 16, "buffer_size": 500, "policy_kwargs": SMALL}


def masked(actions: str, **kwargs: Any) -> SoftAC:
    return SoftAC("MlpPolicy", MaskedEnv(actions=actions), **FAST | kwargs)


def vectorised(actions: str, n: int = 3, wrapped: bool = True, kind: Callable[..., Any] = DummyVecEnv) -> Any:
    make: Callable[[], gym.Env] = partial(MaskedEnv, actions=actions)
    return kind([(lambda: Monitor(ActionMasksInInfo(make()))) if wrapped else make] * n)
