"""What an environment does not allow is never done, and its masks are stored with the observations."""

import copy
import pickle
from functools import partial
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecNormalize

from sac_ext import ActionMasksInInfo, SoftAC
from tests.catalogue import (
    ACTIONS,
    CRITICS,
    DISCRETE,
    FACTORED,
    OBSERVATIONS,
    SMALL,
    MaskedEnv,
    RandomEnv,
    masks_at,
    small_networks,
)
from tests.masked import FAST, masked, vectorised


@pytest.mark.parametrize("actions", DISCRETE)
@pytest.mark.parametrize("env", ["one", "several"])
def test_only_what_is_allowed_is_done(actions: str, env: str) -> None:
    """In the random steps before learning starts, and by the policy: the environment asserts it."""
    model = SoftAC("MlpPolicy", MaskedEnv(actions=actions) if env == "one" else vectorised(actions), **FAST)
    model.learn(90)
    assert model._n_updates > 0
    assert all(th.isfinite(value).all() for value in model.policy.state_dict().values())


@pytest.mark.parametrize("actions", FACTORED)
@pytest.mark.parametrize("critic", CRITICS)
def test_every_critic_keeps_to_the_masks(actions: str, critic: str) -> None:
    masked(actions, policy_kwargs=SMALL | {"critic": critic}).learn(70)


def test_environments_in_processes() -> None:
    env = vectorised("discrete", 2, kind=partial(SubprocVecEnv, start_method="fork"))
    try:
        SoftAC("MlpPolicy", env, **FAST).learn(60)
    finally:
        env.close()


def test_sb3_contribs_wrapper() -> None:
    env = ActionMasker(RandomEnv(actions="discrete"), lambda env: np.array([True, False, True, False]))
    model = SoftAC("MlpPolicy", env, **FAST).learn(60)
    assert set(np.unique(model.replay_buffer.actions[:60])) <= {0, 2}
    batch = model.replay_buffer.sample(16)
    assert th.equal(batch.action_masks, th.tensor([True, False, True, False]).expand(16, -1))


@pytest.mark.parametrize("n_steps", [1, 3])
@pytest.mark.parametrize(
    "options", [{}, {"replay_buffer_kwargs": {"prioritized": True}}, {"optimize_memory_usage": True}]
)
def test_masks_are_those_of_the_observations(n_steps: int, options: dict[str, Any]) -> None:
    """Also of the last observation of an episode that was cut off, and at the end of an n-step return."""
    model = SoftAC("MlpPolicy", vectorised("discrete"), n_steps=n_steps, **FAST | options)
    model.learn(300)
    batch = model.replay_buffer.sample(400)
    space = ACTIONS["discrete"]
    assert batch.action_masks.dtype == th.bool
    np.testing.assert_array_equal(batch.action_masks, masks_at(batch.observations.numpy(), space))
    goes_on = batch.dones.numpy()[:, 0] == 0
    following = masks_at(batch.next_observations.numpy(), space)
    np.testing.assert_array_equal(batch.next_action_masks.numpy()[goes_on], following[goes_on])
    assert batch.next_action_masks.numpy()[~goes_on].all()
    assert model.replay_buffer.timeouts.any()
    taken = batch.actions.numpy()[:, 0]
    assert batch.action_masks.numpy()[np.arange(400), taken].all()


@pytest.mark.parametrize("observations", ["image", "dict", "normalised vector"])
def test_masks_beside_other_observations(observations: str) -> None:
    name = observations.split()[-1]
    env = DummyVecEnv([lambda: Monitor(ActionMasksInInfo(MaskedEnv(name, "multidiscrete")))] * 2)
    if observations != name:
        env = VecNormalize(env)
    model = SoftAC(OBSERVATIONS[name][1], env, **FAST | {"policy_kwargs": small_networks(name)}).learn(90)
    assert model._n_updates > 0
    batch = model.replay_buffer.sample(100)  # observations are as the environment gave them
    obs = batch.observations["vector"] if name == "dict" else batch.observations
    np.testing.assert_array_equal(batch.action_masks, masks_at(obs.numpy(), ACTIONS["multidiscrete"]))


def test_an_episode_cut_off_without_its_last_masks_counts_as_terminated() -> None:
    model = SoftAC("MlpPolicy", vectorised("discrete", wrapped=False), **FAST)
    with pytest.warns(UserWarning, match="masks of its last observation are not known.*ActionMasksInInfo") as warned:
        model.learn(200)
    assert len({str(warning.message) for warning in warned}) == 1
    assert not model.replay_buffer.timeouts.any()
    assert model.replay_buffer.dones.any()


def test_where_a_time_limit_is_an_end_nobody_asks_for_its_masks() -> None:
    options = FAST | {"replay_buffer_kwargs": {"handle_timeout_termination": False}}
    model = SoftAC("MlpPolicy", vectorised("discrete", wrapped=False), **options).learn(200)
    batch = model.replay_buffer.sample(400)
    ended = batch.dones[:, 0] == 1
    assert ended.any()
    assert batch.next_action_masks[ended].all()


class Counter(gym.Env):
    """Shows its step, at which only the action of that number is allowed; one array of masks, written over again."""

    observation_space = spaces.Box(0, 99, (1,), np.float32)
    action_space: spaces.Space = spaces.Discrete(4)
    empty_at = -1

    def __init__(self) -> None:
        self.mask = np.zeros(4, dtype=bool)

    def _show(self) -> np.ndarray:
        self.mask[:] = False
        self.mask[self.count % 4] = self.count != self.empty_at
        return np.array([self.count], dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
        super().reset(seed=seed)
        self.count = 0
        return self._show(), {}

    def action_masks(self) -> np.ndarray:
        return self.mask

    def step(self, action: Any) -> Any:
        assert action == self.count % 4
        self.count += 1
        return self._show(), 0.0, False, self.count >= 6, {}


def test_masks_that_the_environment_writes_over_at_the_reset() -> None:
    model = SoftAC("MlpPolicy", Counter(), **FAST).learn(60)
    batch = model.replay_buffer.sample(300)
    expected = batch.next_observations.long() % 4
    assert (batch.next_observations == 6).any()
    assert batch.next_action_masks.gather(1, expected).all()
    assert (batch.next_action_masks.sum(dim=1) == 1).all()


def test_a_time_limit_where_no_action_is_left_counts_as_terminated() -> None:
    class Stuck(Counter):
        empty_at = 6

    model = SoftAC("MlpPolicy", Stuck(), **FAST).learn(60)
    batch = model.replay_buffer.sample(300)
    assert th.equal(batch.dones == 1, batch.next_observations == 6)


def test_a_time_limit_where_one_component_has_no_value_left_counts_as_terminated() -> None:
    class Stuck(RandomEnv):
        def action_masks(self) -> np.ndarray:
            return np.array([True] * 3 + [self.step_count < 7] * 2)

        def step(self, action: Any) -> Any:
            obs, reward, _, _, info = super().step(action)
            return obs, reward, False, self.step_count == 7, info

    model = SoftAC("MlpPolicy", Stuck(actions="multidiscrete"), **FAST).learn(70)
    storage = model.replay_buffer.storage
    assert storage.stored("dones")[:70].sum() == 10
    assert not storage.stored("timeouts")[:70].any()


def test_masks_are_not_asked_for_at_the_end_of_a_game() -> None:
    class Over(Counter):
        def action_masks(self) -> np.ndarray:
            assert self.count < 6, "the game is over: there are no moves"
            return self.mask

        def step(self, action: Any) -> Any:
            obs, reward, _, ends, info = super().step(action)
            return obs, reward, ends, False, info

    SoftAC("MlpPolicy", Over(), **FAST).learn(60)


def test_a_method_of_that_name_on_box_is_not_called() -> None:
    class Other(RandomEnv):
        def action_masks(self) -> None:
            raise AssertionError

    SoftAC("MlpPolicy", Other(), **FAST).learn(40)


def test_multibinary_is_random_within_its_masks_at_the_start() -> None:
    """Each bit may be 0 only, 1 only, or either."""
    env = ActionMasker(
        RandomEnv(actions="multibinary"), lambda env: np.array([[1, 0], [0, 1]] + [[1, 1]] * 8).flatten()
    )
    model = SoftAC("MlpPolicy", env, **FAST | {"learning_starts": 200}).learn(200)
    actions = model.replay_buffer.actions[:200, 0]
    assert not actions[:, 0].any()
    assert actions[:, 1].all()
    assert 0.35 < actions[:, 2:].mean() < 0.65


@pytest.mark.parametrize(
    "copies", [copy.deepcopy, lambda model: pickle.loads(cloudpickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_copies_of_models_learn_on(copies: Any) -> None:
    model = masked("discrete", entropy_penalty=0.1).learn(40)
    copies(model).learn(20, reset_num_timesteps=False)


# ---------------------------------------------------------------- replay buffers, environments, files


def test_other_replay_buffers_are_refused() -> None:
    with pytest.raises(ValueError, match="a ReplayBuffer with 0 transitions, does not keep action masks"):
        masked("discrete", replay_buffer_class=ReplayBuffer)


def test_gradient_steps_on_transitions_without_the_masks_that_the_environment_has(tmp_path: Any) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), **FAST).learn(20)
    model.train(1, 16)
    model.save_replay_buffer(tmp_path / "buffer")
    model.set_env(MaskedEnv(actions="discrete"))
    other = masked("discrete")
    other.load_replay_buffer(tmp_path / "buffer")
    for each in (model, other):
        with pytest.raises(ValueError, match="DeviceReplayBuffer with 20 transitions, does not keep action masks"):
            each.train(1, 16)


def test_going_on_in_other_environments() -> None:
    model = masked("discrete").learn(40)
    model.set_env(RandomEnv(actions="discrete"))
    model.learn(40, reset_num_timesteps=False)
    assert model.replay_buffer.storage.stored("action_masks")[45:80].all()
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), **FAST).learn(10)
    model.set_env(MaskedEnv(actions="discrete"))
    with pytest.raises(ValueError, match="DeviceReplayBuffer with 10 transitions, does not keep action masks"):
        model.learn(10)
    model.replay_buffer = None  # as the error says
    model.learn(40)
    assert model.replay_buffer.sample(4).action_masks.shape == (4, 4)


def test_masks_survive_saving_and_loading(tmp_path: Any) -> None:
    model = masked("discrete").learn(60)
    model.save(tmp_path / "model")
    model.save_replay_buffer(tmp_path / "buffer")
    loaded = SoftAC.load(tmp_path / "model")  # an environment comes later
    loaded.set_env(MaskedEnv(actions="discrete"))
    loaded.learn(40)
    loaded.load_replay_buffer(tmp_path / "buffer")
    for name in ("action_masks", "next_action_masks"):
        before, after = (each.replay_buffer.storage.stored(name)[:60] for each in (model, loaded))
        np.testing.assert_array_equal(before, after)
    loaded.learn(40, reset_num_timesteps=False)
