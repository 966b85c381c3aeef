"""Environments by their ids, and with the options of a zoo entry."""

import copy
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_wrapper

pytest.importorskip("rl_zoo3")
pytest.importorskip("optuna")
from sac_ext.tuning.environments import EnvironmentSpec
from sac_ext.tuning.evaluate import Protocol, is_stochastic
from tests.catalogue import RandomEnv
from tests.watched import WatchedEnv, registered, run


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with registered():
        yield


def test_environments_of_minatar_are_found() -> None:
    pytest.importorskip("minatar")
    env = EnvironmentSpec("MinAtar/Breakout-v1").make(0)
    assert env.action_space.n == 3
    env.close()


def test_evaluations_see_the_statistics_of_training_and_rewards_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Returns are as they are, and evaluations see the statistics of training."""
    made: list[Any] = []
    make = EnvironmentSpec.make
    monkeypatch.setattr(EnvironmentSpec, "make", lambda *args, **kwargs: made.append(make(*args, **kwargs)) or made[-1])
    env = EnvironmentSpec("Watched-v0", {"reward": 100.0, "episode_length": 5}, {"normalize": True})
    counts = []

    def report(index: int, step: int, value: float) -> None:
        training, evaluation = (unwrap_vec_wrapper(each, VecNormalize) for each in made)
        np.testing.assert_array_equal(training.obs_rms.mean, evaluation.obs_rms.mean)
        assert training.obs_rms.mean.any()
        assert (training.training, training.norm_reward) == (True, True)
        assert (evaluation.training, evaluation.norm_reward) == (False, False)
        counts.append(evaluation.obs_rms.count)
        assert value == 500.0

    run(env, report=report)
    assert counts[0] + 20 == counts[1]
    assert counts[1] + 20 == counts[2]


@pytest.mark.parametrize(
    ("normalize", "obs", "reward"),
    [
        (True, True, True),
        ("{'norm_obs': True, 'norm_reward': False}", True, False),
        ("dict(norm_obs=False)", False, True),
        ({"norm_obs": False, "norm_reward": True}, False, True),
    ],
)
def test_the_option_says_what_is_normalised(normalize: Any, obs: bool, reward: bool) -> None:
    spec = EnvironmentSpec("Watched-v0", options={"normalize": normalize})
    for training in (True, False):
        env = unwrap_vec_wrapper(spec.make(0, training=training), VecNormalize)
        assert (env.norm_obs, env.norm_reward, env.training) == (obs, reward and training, training)


@pytest.mark.parametrize(
    ("options", "shape", "n_envs"),
    [
        ({}, (3,), 1),
        ({"n_envs": 3}, (3,), 3),
        ({"normalize": False, "frame_stack": None, "env_wrapper": None}, (3,), 1),
        ({"frame_stack": 4}, (12,), 1),
        ({"env_wrapper": "tests.watched.Padded"}, (4,), 1),
        ({"env_wrapper": [{"tests.watched.Padded": {"zeros": 2}}]}, (5,), 1),
        ({"vec_env_wrapper": "stable_baselines3.common.vec_env.VecCheckNan"}, (3,), 1),
        ({"vec_env_wrapper": {"stable_baselines3.common.vec_env.VecFrameStack": {"n_stack": 2}}}, (6,), 1),
        ({"monitor_kwargs": "dict(info_keywords=())"}, (3,), 1),
        ({"n_envs": 2, "normalize": True, "env_wrapper": "tests.watched.Padded"}, (4,), 2),
        ({"n_envs": 2, "frame_stack": 2, "env_wrapper": "tests.watched.Padded"}, (8,), 2),
    ],
    ids=str,
)
def test_options_of_the_zoo_wrap_the_environment(options: dict[str, Any], shape: tuple[int, ...], n_envs: int) -> None:
    spec = EnvironmentSpec("Watched-v0", options=options)
    before = copy.deepcopy(spec)
    assert spec.n_envs == n_envs
    env = spec.make(0)
    assert (env.observation_space.shape, env.num_envs) == (shape, n_envs)
    assert spec.make(0, n_envs=4).num_envs == 4
    assert (unwrap_vec_wrapper(env, VecNormalize) is not None) == bool(options.get("normalize"))
    assert math.isfinite(run(spec, Protocol(40, 2, episodes=2)).score)
    assert spec == before


def test_normalisation_and_frame_stack_work_together() -> None:
    spec = EnvironmentSpec("Watched-v0", options={"frame_stack": 2, "normalize": True})
    assert math.isfinite(run(spec).score)


def test_an_entry_gives_options_and_keyword_arguments() -> None:
    entry = {"n_envs": 2, "tau": 0.1, "normalize": True, "env_kwargs": {"a": 1, "b": 2}, "n_timesteps": 5}
    before = copy.deepcopy(entry)
    spec = EnvironmentSpec.of_entry("A-v0", entry, {"b": 3})
    assert spec == EnvironmentSpec("A-v0", {"a": 1, "b": 3}, {"n_envs": 2, "normalize": True})
    assert entry == before
    assert EnvironmentSpec.of_entry("A-v0", {"env_kwargs": None}, {}) == EnvironmentSpec("A-v0")


@pytest.mark.parametrize("actions", ["box", "discrete", "multidiscrete"])
def test_the_action_space_is_looked_up_and_the_environment_closed(actions: str) -> None:
    spec = EnvironmentSpec("Watched-v0", {"actions": actions}, {"n_envs": 3})
    assert spec.action_space() == RandomEnv(actions=actions).action_space
    assert [env.closed for env in WatchedEnv.made] == [True]


def test_an_id_may_name_the_module_that_registers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import gymnasium\ngymnasium.register('Mine-v0', 'tests.watched:WatchedEnv')\n"
    (tmp_path / "my_module.py").write_text(text)
    with pytest.raises(ValueError, match="'my_module:Mine-v0': cannot import 'my_module'"):
        EnvironmentSpec("my_module:Mine-v0").check()
    monkeypatch.syspath_prepend(tmp_path)
    try:
        EnvironmentSpec("my_module:Mine-v0").check()
        assert math.isfinite(run(EnvironmentSpec("my_module:Mine-v0")).score)
        with pytest.raises(ValueError, match=r"no environment 'my_module:Mein-v0' .* Did you mean Mine-v0"):
            EnvironmentSpec("my_module:Mein-v0").check()
    finally:
        gym.registry.pop("Mine-v0", None)
        sys.modules.pop("my_module", None)


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("CartPoel-v1", "There is no environment 'CartPoel-v1' .* Did you mean CartPole-v1"),
        ("CartPole-v9", "There is no environment 'CartPole-v9' .* Did you mean CartPole-v"),
        ("CartPole", "There is no environment 'CartPole' .* Did you mean CartPole-v1"),
        ("Zzzyzx-v0", "There is no environment 'Zzzyzx-v0' .* Ids of other packages are written module:id"),
        ("", "There is no environment ''"),
        ("no.such.module:CartPole-v1", "'no.such.module:CartPole-v1': cannot import 'no.such.module'"),
    ],
)
def test_unknown_environments_are_refused_with_the_nearest(env_id: str, message: str) -> None:
    for call in (
        EnvironmentSpec(env_id).check,
        EnvironmentSpec(env_id).action_space,
        lambda: EnvironmentSpec(env_id).make(0),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env_wrapper": "tests.watched.Pad"}, "Cannot find the env_wrapper 'tests.watched.Pad'"),
        ({"env_wrapper": "no_such_module.Padded"}, "Cannot find the env_wrapper 'no_such_module.Padded'"),
        ({"env_wrapper": [3]}, "Cannot find the env_wrapper"),
        ({"vec_env_wrapper": "VecCheckNan"}, "Cannot find the vec_env_wrapper 'VecCheckNan'"),
        ({"env_wrapper": {"tests.watched.Padded": {"ones": 1}}}, "Cannot make 'Watched-v0'"),
        ({"monitor_kwargs": {"color": "red"}}, "Cannot make 'Watched-v0'"),
        ({"normalize": "dict(norm_obs="}, "normalize cannot be evaluated as a Python expression"),
    ],
    ids=str,
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnvironmentSpec("Watched-v0", options=options).make(0)


def test_keyword_arguments_that_an_environment_does_not_take_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Cannot make 'Watched-v0' with \{'gravity': 9.8\}: .*gravity"):
        EnvironmentSpec("Watched-v0", {"gravity": 9.8}).make(0)


def test_values_that_an_environment_does_not_take_are_refused() -> None:
    assert EnvironmentSpec("Refusing-v0").make(0).num_envs == 1
    with pytest.raises(ValueError, match="gravity must be positive"):
        EnvironmentSpec("Refusing-v0", {"gravity": -1.0}).make(0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EnvironmentSpec(".relative:CartPole-v1"), "cannot import '.relative'"),
        (EnvironmentSpec("Watched-v0", options={"n_envs": 0}), "n_envs must be at least 1, got 0"),
        (EnvironmentSpec("Watched-v0", options={"normalize": {"norm_all": True}}), "that VecNormalize does not take"),
        (EnvironmentSpec("Watched-v0", options={"env_wrapper": {"a.B": {}, "c.D": {}}}), "Cannot find the env_wrapper"),
    ],
    ids=str,
)
def test_what_is_written_wrongly_is_a_value_error(spec: EnvironmentSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec.make(0)


def test_atari_is_evaluated_with_randomness() -> None:
    gym.register("Pong-v99", "ale_py.env:AtariEnv")
    try:
        assert is_stochastic("Pong-v99")
        assert is_stochastic("ale_py:Pong-v99")
        assert not is_stochastic("CartPole-v1")
    finally:
        del gym.registry["Pong-v99"]
