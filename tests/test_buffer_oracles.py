"""DeviceReplayBuffer against SB3's buffers: the same transitions and the same draws give the same samples, bit for bit.

What SB3's cannot do is compared with what they do separately, or with plain Python.
"""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sac_ext import DeviceReplayBuffer
from sac_ext.buffers.ring import DeviceRing
from sac_ext.buffers.storage import Storage
from tests.streams import SPACES, Stream, assert_same_contents, assert_same_samples, streams

SB3S = [name for name in SPACES if name != "scalar"]  # which SB3's plain buffer cannot sample
VECTORS = [name for name in SPACES if name != "dict"]
ARRAYS = [name for name in SB3S if name != "dict"]


@pytest.fixture(params=["host", "staged"], autouse=True)
def storage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs on both kinds of storage: the host's, and the device's with the CPU as its device."""
    if request.param == "staged":

        def ring(self: Storage, columns: Any, length: int, width: int, by_env: bool = False) -> DeviceRing:
            return DeviceRing(columns, length, width, by_env, self.device)

        monkeypatch.setattr(Storage, "_ring", ring)
    return str(request.param)


def sb3_class(stream: Stream) -> type:
    return DictReplayBuffer if stream.observations == "dict" else ReplayBuffer


def draw(buffer: Any, seed: int = 0, batch_size: int = 16, env: Any = None) -> Any:
    np.random.seed(seed)
    return buffer.sample(batch_size, env)


@given(stream=streams(SB3S), handle_timeouts=st.booleans())
def test_samples_are_sb3s(stream: Stream, handle_timeouts: bool) -> None:
    expected = stream.make(sb3_class(stream), handle_timeout_termination=handle_timeouts)
    actual = stream.make(DeviceReplayBuffer, handle_timeout_termination=handle_timeouts)
    assert (actual.pos, actual.full, actual.size()) == (expected.pos, expected.full, expected.size())
    for seed in range(3):
        assert_same_samples(draw(expected, seed), draw(actual, seed))


@given(stream=streams(VECTORS), n_steps=st.integers(1, 12), gamma=st.sampled_from([0.0, 0.9, 0.99, 1.0]))
def test_n_step_samples_are_sb3s(stream: Stream, n_steps: int, gamma: float) -> None:
    expected = stream.make(NStepReplayBuffer, n_steps=n_steps, gamma=gamma)
    actual = stream.make(DeviceReplayBuffer, n_steps=n_steps, gamma=gamma)
    left, right = draw(expected), draw(actual)
    if n_steps == 1:
        assert right.discounts is None  # gamma itself
        left = left._replace(discounts=None)
    assert_same_samples(left, right)


@given(stream=streams(["dict"]), n_steps=st.integers(2, 5), handle_timeouts=st.booleans())
def test_n_steps_of_dict_observations_are_those_of_their_parts(
    stream: Stream, n_steps: int, handle_timeouts: bool
) -> None:
    """SB3 has no n-step buffer for Dict observations; one for each key must give the same."""
    options = {"n_steps": n_steps, "gamma": 0.9, "handle_timeout_termination": handle_timeouts}
    actual = draw(stream.make(DeviceReplayBuffer, **options))
    for key, space in SPACES["dict"].items():  # type: ignore[attr-defined]
        buffer = NStepReplayBuffer(
            stream.length * stream.n_envs, space, stream.action_space, device="cpu", n_envs=stream.n_envs, **options
        )
        for obs, next_obs, *rest in stream.transitions():
            buffer.add(obs[key], next_obs[key], *rest)
        expected = draw(buffer)
        part = type(expected)(*actual)._replace(
            observations=actual.observations[key], next_observations=actual.next_observations[key]
        )
        assert_same_samples(expected, part)


@given(stream=streams(), n_steps=st.integers(1, 4), once=st.booleans())
def test_n_steps_by_hand(stream: Stream, n_steps: int, once: bool) -> None:
    """From the list of transitions, in plain Python: every entry of the buffer, with timeouts and the ring's seam."""
    gamma = 0.9
    buffer = stream.make(DeviceReplayBuffer, n_steps=n_steps, gamma=gamma, optimize_memory_usage=once)
    transitions = stream.transitions()
    for age in range(buffer.size()):
        number = stream.steps - 1 - age
        np.random.seed(0)
        envs = np.random.randint(0, stream.n_envs, size=4)
        np.random.seed(0)
        samples = buffer._get_samples(np.full(4, number % stream.length))
        for index, env in enumerate(envs):
            obs, _, action, *_ = transitions[number]
            reward, discount = 0.0, 1.0
            for step in transitions[number : number + n_steps]:
                _, next_obs, _, rewards, dones, infos = step
                reward += discount * rewards[env]
                discount *= gamma
                if dones[env]:
                    break
            assert_observation(obs, samples.observations, env, index)
            assert_observation(next_obs, samples.next_observations, env, index)
            np.testing.assert_allclose(samples.actions[index], action[env].reshape(-1), rtol=1e-6)
            assert samples.rewards[index].item() == pytest.approx(reward, rel=1e-5, abs=1e-5)
            assert samples.dones[index].item() == (dones[env] and not infos[env]["TimeLimit.truncated"])
            if n_steps > 1:
                assert samples.discounts[index].item() == pytest.approx(discount, rel=1e-5)


def assert_observation(expected: Any, actual: Any, env: int, index: int) -> None:
    if isinstance(expected, dict):
        for key in expected:
            assert_observation(expected[key], actual[key], env, index)
    else:
        np.testing.assert_array_equal(actual[index].numpy().reshape(expected[env].shape), expected[env])


@given(stream=streams(), batch_size=st.integers(1, 70), n=st.integers(1, 4), n_steps=st.integers(1, 3))
def test_many_batches_are_those_of_separate_draws(stream: Stream, batch_size: int, n: int, n_steps: int) -> None:
    buffer = stream.make(DeviceReplayBuffer, n_steps=n_steps, gamma=0.9)
    np.random.seed(0)
    expected = [buffer.sample(batch_size) for _ in range(n)]
    after = np.random.random_sample()
    for draw_many in (buffer.sample_many, buffer.batches):
        np.random.seed(0)
        for left, right in zip(expected, draw_many(n, batch_size), strict=True):
            assert_same_samples(left, right)
        assert np.random.random_sample() == after


@given(stream=streams(ARRAYS), handle_timeouts=st.booleans())
def test_observations_stored_once_are_sb3s(stream: Stream, handle_timeouts: bool) -> None:
    """Those of SB3's plain buffer, in which no next observation is lost."""
    expected = stream.make(ReplayBuffer, handle_timeout_termination=handle_timeouts)
    actual = stream.make(DeviceReplayBuffer, optimize_memory_usage=True, handle_timeout_termination=handle_timeouts)
    assert_same_contents(expected, actual)


@given(stream=streams(ARRAYS).filter(lambda stream: stream.length > 1))
def test_observations_stored_once_are_drawn_as_sb3_draws_them(stream: Stream) -> None:
    options = {"optimize_memory_usage": True, "handle_timeout_termination": False}
    left, right = (draw(stream.make(cls, **options)) for cls in (ReplayBuffer, DeviceReplayBuffer))
    ended = left.dones.flatten() > 0  # there SB3 gives the first observation of the next episode
    next_observations = th.where(
        ended.reshape(-1, *[1] * (left.next_observations.ndim - 1)), left.next_observations, right.next_observations
    )
    assert_same_samples(left, right._replace(next_observations=next_observations))


class Normalized(gym.Env):
    """Only its spaces matter."""

    def __init__(self, observations: str) -> None:
        self.observation_space = SPACES[observations]
        self.action_space = gym.spaces.Discrete(2)


@given(
    stream=streams(["vector", "flags", "double", "image", "dict"]),
    norm_obs=st.booleans(),
    norm_reward=st.booleans(),
    clip=st.sampled_from([0.5, 10.0]),
    n_steps=st.integers(1, 3),
)
def test_normalisation_is_sb3s(stream: Stream, norm_obs: bool, norm_reward: bool, clip: float, n_steps: int) -> None:
    keys = ["vector"] if stream.observations == "dict" and norm_obs else None
    env = VecNormalize(
        DummyVecEnv([lambda: Normalized(stream.observations)]),
        norm_obs=norm_obs,
        norm_reward=norm_reward,
        clip_obs=clip,
        clip_reward=clip,
        norm_obs_keys=keys,
    )
    rng = np.random.default_rng(stream.seed)
    if norm_obs:
        for statistics in env.obs_rms.values() if isinstance(env.obs_rms, dict) else [env.obs_rms]:
            statistics.update(rng.normal(1.0, 2.0, (50, *statistics.mean.shape)))
    env.ret_rms.update(rng.normal(1.0, 2.0, 50))
    if n_steps > 1 and stream.observations != "dict":
        expected, options = NStepReplayBuffer, {"n_steps": n_steps, "gamma": 0.9}
    else:
        expected, options = sb3_class(stream), {}
    left, right = (draw(stream.make(cls, **options), env=env) for cls in (expected, DeviceReplayBuffer))
    assert_same_samples(left, right)


@given(stream=streams(SB3S))
def test_the_storage_has_sb3s_names_and_contents(stream: Stream) -> None:
    expected, actual = stream.make(sb3_class(stream)), stream.make(DeviceReplayBuffer)
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        left, right = getattr(expected, name), getattr(actual, name)
        pairs = [(left[key], right[key]) for key in left] if isinstance(left, dict) else [(left, right)]
        for left_part, right_part in pairs:
            assert isinstance(right_part, np.ndarray)
            assert left_part.dtype == right_part.dtype
            np.testing.assert_array_equal(left_part, right_part)
    actual.dones[actual.pos - 1] = 1.0  # as SB3's learn() does
    assert actual._get_samples(np.array([actual.pos - 1])).dones.item() == 1 - actual.timeouts[
        actual.pos - 1
    ].max() or (stream.n_envs > 1)
