"""Evaluations that wait for an episode which does not end."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.monitor import Monitor

from sac_ext import SoftAC, evaluation
from sac_ext.evaluation import evaluate_policy

from .catalogue import SMALL, RandomEnv

LIMIT = 20
WAITING = f"no episode has ended in {LIMIT} steps of an evaluation"


class Lasting(gym.Wrapper):
    """Its episodes have the length it is given."""

    def __init__(self, length: int) -> None:
        super().__init__(RandomEnv(actions="discrete"))
        self.length = length

    def reset(self, **kwargs: Any) -> Any:
        self.steps = 0
        return super().reset(**kwargs)

    def step(self, action: Any) -> Any:
        self.steps += 1
        obs, reward, *_ = super().step(action)
        return obs, reward, self.steps == self.length, False, {}


def masked(length: int) -> gym.Env:
    return ActionMasker(Lasting(length), lambda _: np.ones(4, dtype=bool))


@pytest.fixture(autouse=True)
def limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "PATIENCE", LIMIT)


@pytest.fixture
def model() -> SoftAC:
    return SoftAC("MlpPolicy", Lasting(5), policy_kwargs=SMALL)


@pytest.mark.parametrize("make", [Lasting, masked])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_one_that_waits_for_long_says_so_once(model: SoftAC, make: Any, n_envs: int) -> None:
    env = make_vec_env(partial(make, 3 * LIMIT), n_envs)
    with pytest.warns(UserWarning, match=WAITING) as warned:
        _, lengths = evaluate_policy(model, env, 6, return_episode_rewards=True)
    assert lengths == [3 * LIMIT] * 6
    assert len(warned) == 1


@pytest.mark.parametrize("make", [Lasting, masked])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_long_evaluations_of_episodes_that_end(model: SoftAC, make: Any, n_envs: int) -> None:
    env = make_vec_env(partial(make, LIMIT), n_envs)
    seen: list[int] = []
    evaluate_policy(model, env, 6, callback=lambda locals_, globals_: seen.append(locals_["i"]))
    assert len(seen) == 6 * LIMIT


def test_a_monitor_inside_a_time_limit_sees_no_episode_end(model: SoftAC) -> None:
    with pytest.raises(UserWarning, match=WAITING):  # without the error, it would go on for ever
        evaluate_policy(model, TimeLimit(Monitor(Lasting(10**9)), 5), 1)
