"""NaN is reported where it enters training, and no parameter changes."""

import copy
import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sac_ext import SoftAC, finite
from tests.catalogue import ACTIONS, RandomEnv, small_networks
from tests.compare import assert_equal


class Broken(gym.Wrapper):
    """Puts ``value`` into the reward or into an observation at one step (0: at reset)."""

    def __init__(self, env: gym.Env, where: str, at: int, value: float = np.nan) -> None:
        super().__init__(env)
        self.where, self.at, self.value, self.count = where, at, value, -1

    def spoil(self, observation: Any) -> Any:
        self.count += 1
        if self.count != self.at or self.where == "reward":
            return observation
        observation = copy.deepcopy(observation)
        part = observation["vector"] if isinstance(observation, dict) else observation
        part[1] = self.value
        return observation

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        return self.spoil(observation), info

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        observation = self.spoil(observation)
        if self.where == "reward" and self.count == self.at:
            reward = self.value
        if self.where == "last observation" and self.count == self.at:
            truncated = True
        return observation, reward, terminated, truncated, info


def learn_broken(observations: str = "vector", actions: str = "box", **broken: Any) -> tuple[SoftAC, Any, str]:
    env = Broken(RandomEnv(observations, actions), **broken)
    policy = "MultiInputPolicy" if observations == "dict" else "MlpPolicy"
    model = SoftAC(policy, env, seed=0, learning_starts=20, batch_size=16, policy_kwargs=small_networks(observations))
    parameters = []
    original = model.train
    model.train = lambda *args, **kwargs: (original(*args, **kwargs), parameters.append(state(model)))  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="Nothing was learned from it") as error:
        model.learn(60)
    return model, parameters, str(error.value)


def state(model: SoftAC) -> Any:
    return copy.deepcopy(model.get_parameters())


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize(
    ("where", "at", "message"),
    [
        ("reward", 30, "reward from the environment at step"),
        ("observation", 30, "observation from the environment at step"),
        ("last observation", 30, "observation from the environment at step"),
    ],
)
def test_from_the_environment(actions: str, where: str, at: int, message: str) -> None:
    model, parameters, error = learn_broken(actions=actions, where=where, at=at)
    assert message in error
    assert len(parameters) >= 5
    assert_equal(parameters[-1], model.get_parameters())
    assert all(np.isfinite(model.replay_buffer.rewards).ravel())
    assert not np.isnan(model.replay_buffer.next_observations).any()


def test_from_the_first_reset() -> None:
    _, parameters, error = learn_broken(where="observation", at=0)
    assert "observation from the reset of the environment contains NaN" in error
    assert not parameters


def test_in_a_dict_observation_the_key_is_named() -> None:
    assert "observation['vector'] from" in learn_broken("dict", where="observation", at=30)[2]


def test_infinite_rewards_are_refused_and_infinite_observations_left_alone() -> None:
    error = learn_broken(where="reward", at=30, value=-np.inf)[2]
    assert re.match(r"reward from the environment at step \d+ is -inf, but must be finite", error)
    finite.check_observation(np.array([np.inf]), "a range sensor that saw nothing")


def test_behind_vec_normalize() -> None:
    env = VecNormalize(DummyVecEnv([lambda: Broken(RandomEnv(), where="observation", at=30)]))
    model = SoftAC("MlpPolicy", env, learning_starts=20, policy_kwargs=small_networks("vector"))
    with pytest.raises(ValueError, match="contains NaN"):
        model.learn(60)
    assert all(th.isfinite(parameter).all() for parameter in model.policy.parameters())


def test_in_a_loaded_dict_buffer(tmp_path: Any) -> None:
    options = {"learning_starts": 20, "buffer_size": 100, "policy_kwargs": small_networks("dict")}
    model = SoftAC("MultiInputPolicy", RandomEnv("dict"), **options).learn(25)
    model.replay_buffer.observations["vector"][3] = np.nan
    model.save_replay_buffer(tmp_path / "buffer")
    match = r"observation\['vector'\] from the loaded replay buffer contains NaN\. The model keeps"
    with pytest.raises(ValueError, match=match):
        model.load_replay_buffer(tmp_path / "buffer")


class Loose(gym.Wrapper):
    """Gives observations as Python objects, as many environments do."""

    def __init__(self, env: gym.Env, convert: Any) -> None:
        super().__init__(env)
        self.convert = convert

    def reset(self, **kwargs: Any) -> Any:
        observation, info = self.env.reset(**kwargs)
        return self.convert(observation), info

    def step(self, action: Any) -> Any:
        observation, *rest = self.env.step(action)
        return self.convert(observation), *rest


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize(("observations", "convert"), [("discrete", int), ("vector", list)])
def test_observations_that_are_no_arrays(observations: str, convert: Any, actions: str) -> None:
    env = Loose(RandomEnv(observations, actions), convert)
    SoftAC("MlpPolicy", env, learning_starts=20, policy_kwargs=small_networks("vector")).learn(40)


def test_a_terminal_observation_of_none_is_no_nan() -> None:
    finite.check_observation(None, "a wrapper that forgot it")


@pytest.mark.parametrize("spoil", ["rewards", "observations", "next_observations"])
class TestThroughTheBuffer:
    def trained(self) -> SoftAC:
        return SoftAC(
            "MlpPolicy", RandomEnv(), seed=0, learning_starts=20, policy_kwargs=small_networks("vector")
        ).learn(40)

    def test_put_there_by_the_user(self, spoil: str) -> None:
        model = self.trained()
        getattr(model.replay_buffer, spoil)[:40] = np.nan
        before = state(model)
        with pytest.raises(ValueError, match="from the replay buffer"):
            model.train(gradient_steps=3, batch_size=16)
        assert_equal(before, model.get_parameters())

    def test_steps_before_the_bad_batch_are_counted(self, spoil: str) -> None:
        model = self.trained()
        getattr(model.replay_buffer, spoil)[:2] = np.nan
        before = model._n_updates
        steps = []
        original = model._update.step_down
        model._update.step_down = lambda *args: (steps.append(1), original(*args))[1]
        with pytest.raises(ValueError, match="from the replay buffer"):
            model.train(gradient_steps=500, batch_size=4)
        assert len(steps) > 0
        assert model._n_updates == before + len(steps) / 3  # actor, critics, coefficient

    def test_a_loaded_buffer_is_refused_and_the_old_one_kept(self, tmp_path: Any, spoil: str) -> None:
        model = self.trained()
        kept = model.replay_buffer
        broken = copy.deepcopy(kept)
        getattr(broken, spoil)[3] = np.nan
        model.replay_buffer = broken
        model.save_replay_buffer(tmp_path / "buffer")
        model.replay_buffer = kept
        with pytest.raises(ValueError, match="from the loaded replay buffer"):
            model.load_replay_buffer(tmp_path / "buffer")
        assert model.replay_buffer is kept
