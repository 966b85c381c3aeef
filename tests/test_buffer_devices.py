"""DeviceReplayBuffer away from the host: staged writes, the meta device, and CUDA where there is one."""

import copy
import io
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from sac_ext import DeviceReplayBuffer, SoftAC
from sac_ext.buffers.ring import Column, DeviceRing, Entries, HostRing
from tests.catalogue import RandomEnv, small
from tests.compare import assert_same_models
from tests.streams import SPACES, Stream, stream

FAST: dict[str, Any] = {"seed": 0, "device": "cpu", "learning_starts": 20, "batch_size": 16, "buffer_size": 60}
gpu = [pytest.mark.gpu, pytest.mark.skipif(not th.cuda.is_available(), reason="needs a CUDA device")]
DEVICES = ["cpu", pytest.param("cuda", marks=gpu)]  # on the CPU to see that these tests themselves are right


@given(
    rows=st.integers(1, 60),
    length=st.integers(1, 12),
    stage_rows=st.integers(1, 5),
    reads=st.integers(0, 2**16),
    ahead=st.booleans(),
    by_env=st.booleans(),
)
def test_staged_rows_are_neither_lost_nor_reordered(
    rows: int, length: int, stage_rows: int, reads: int, ahead: bool, by_env: bool
) -> None:
    """Whenever they are read in between; with the row after the newest one written ahead, as frames are."""
    columns = {"number": Column((2,), np.dtype(np.int64))}
    rng = np.random.default_rng(reads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sac_ext.buffers.ring.STAGE_ROWS", stage_rows)
        staged, direct = DeviceRing(columns, length, 3, by_env, th.device("cpu")), HostRing(columns, length, 3, by_env)
    for row in range(rows):
        for ring in (staged, direct):
            ring.write(row, [np.full((3, 2), row)])
            if ahead:
                ring.write(row + 1, [np.full((3, 2), -row)])
        if rng.random() < 0.3:
            rows, envs = (th.from_numpy(rng.integers(0, high, 10)) for high in (length, 3))
            expected = direct.stored("number")[rows, envs]
            assert all(th.equal(ring.gather("number", ring.index(rows, envs)), expected) for ring in (staged, direct))
    assert th.equal(staged.stored("number"), direct.stored("number"))


FEATURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "n-steps": {"n_steps": 3, "gamma": 0.9},
    "soft": {"n_steps": 3, "gamma": 0.9, "soft_n_steps": True},
    "once": {"optimize_memory_usage": True},
    "prioritized": {"prioritized": True},
}


def noted(buffer: DeviceReplayBuffer, source: Stream) -> DeviceReplayBuffer:
    for number, transition in enumerate(source.transitions()):
        if buffer.soft_n_steps:
            buffer.note(entropies=np.full(source.n_envs, 0.1 * number))
        buffer.add(*transition)
    return buffer


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("observations", SPACES)
def test_what_devices_do_runs_without_data(observations: str, feature: str) -> None:
    """On the meta device, which has shapes and types but no numbers, and which nobody can wait for."""
    source = stream(observations=observations, n_envs=3)
    env = None
    on_host, on_meta = (
        noted(
            DeviceReplayBuffer(
                30, source.observation_space, source.action_space, device=device, n_envs=3, **FEATURES[feature]
            ),
            source,
        )
        for device in ("cpu", "meta")
    )
    for expected, actual in zip(on_host.sample_many(2, 5, env), on_meta.sample_many(2, 5, env), strict=True):
        for left, right in zip(expected, actual, strict=True):
            parts = [(left[key], right[key]) for key in left] if isinstance(left, dict) else [(left, right)]
            for a, b in parts:
                if a is None:
                    assert b is None
                else:
                    assert (a.shape, a.dtype, b.device.type) == (b.shape, b.dtype, "meta")
    if feature == "prioritized":
        on_meta.update_priorities(actual.indices, th.rand(5, device="meta"))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("observations", SPACES)
class TestDevices:
    def pair(self, observations: str, feature: str, device: str, **options: Any) -> list[DeviceReplayBuffer]:
        source = stream(observations=observations, n_envs=3)
        place = (30, source.observation_space, source.action_space)
        return [
            noted(DeviceReplayBuffer(*place, n_envs=3, **FEATURES[feature], **each), source)
            for each in ({"device": "cpu"}, {"device": device} | options)
        ]

    def assert_same(self, on_host: DeviceReplayBuffer, other: DeviceReplayBuffer) -> None:
        rng = np.random.default_rng(0)
        rows, envs = (th.from_numpy(rng.integers(0, high, 50)) for high in (on_host.size(), 3))
        expected = on_host._gather.batch(Entries(rows, envs, 3), None, None)
        actual = other._gather.batch(Entries(rows.to(other._placed), envs.to(other._placed), 3), None, None)
        for left, right in zip(expected, actual, strict=True):
            parts = [(left[key], right[key]) for key in left] if isinstance(left, dict) else [(left, right)]
            for a, b in parts:
                if a is not None:
                    th.testing.assert_close(a, b.cpu())

    @pytest.mark.parametrize("storage_device", ["auto", "cpu"])
    def test_contents(self, observations: str, feature: str, device: str, storage_device: str) -> None:
        on_host, other = self.pair(observations, feature, device, storage_device=storage_device)
        assert other.storage.device.type == (device if storage_device == "auto" else "cpu")
        batch = other.sample_many(3, 20)[1]
        assert batch.rewards.device.type == device
        self.assert_same(on_host, other)

    def test_moving_and_files(self, observations: str, feature: str, device: str) -> None:
        on_host, other = self.pair(observations, feature, device)
        file = io.BytesIO()
        other.save(file)
        file.seek(0)
        place = (other.observation_space, other.action_space)
        self.assert_same(on_host, DeviceReplayBuffer.load(file, *place, device="cpu"))
        other.device = "cpu"
        assert other.storage.device.type == "cpu"
        self.assert_same(on_host, other)
        other.device = device
        self.assert_same(on_host, other)

    def test_a_seed_makes_draws_repeatable(self, observations: str, feature: str, device: str) -> None:
        _, other = self.pair(observations, feature, device)
        drawn = []
        for _ in range(2):
            set_random_seed(3, using_cuda=device == "cuda")  # as a model does
            drawn.append(other.sample(20).rewards)
        assert th.equal(*drawn)


@pytest.mark.parametrize("device", DEVICES)
def test_normalisation(device: str) -> None:
    source = stream()
    env = VecNormalize(DummyVecEnv([lambda: Spaces(source)]))
    rng = np.random.default_rng(0)
    env.obs_rms.update(rng.normal(1, 2, (50, 7)))
    env.ret_rms.update(rng.normal(1, 2, 50))
    on_host, other = (
        noted(DeviceReplayBuffer(20, source.observation_space, source.action_space, device=each, n_envs=2), source)
        for each in ("cpu", device)
    )
    rows = th.arange(10)
    expected = on_host._gather.batch(Entries(rows, rows % 2, 2), None, env)
    actual = other._gather.batch(Entries(rows.to(device), (rows % 2).to(device), 2), None, env)
    for left, right in zip(expected, actual, strict=True):
        if left is not None:
            assert th.equal(left, right.cpu())


class Spaces(gym.Env):
    """Only its spaces matter."""

    def __init__(self, source: Stream) -> None:
        self.observation_space, self.action_space = source.observation_space, source.action_space


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", [{}, {"prioritized": True}, {"frame_stack": 2}, {"storage_device": "cpu"}], ids=str)
def test_softac_trains(device: str, options: dict[str, Any]) -> None:
    env = VecFrameStack(DummyVecEnv([RandomEnv] * 2), 2)
    kwargs: dict[str, Any] = FAST | {"device": device, "policy_kwargs": small(), "replay_buffer_kwargs": options}
    models = [SoftAC("MlpPolicy", env, gradient_steps=3, **kwargs).learn(100) for _ in range(2)]
    assert_same_models(*models)


def test_moving_to_where_it_is_changes_nothing() -> None:
    buffer = stream().make(DeviceReplayBuffer)
    storage = buffer.storage
    buffer.device = "cpu"
    assert buffer.storage is storage
    before = buffer.observations.copy()
    buffer.device = "meta"
    assert buffer.storage.device.type == "meta"
    buffer = stream().make(DeviceReplayBuffer, storage_device="cpu")
    buffer.device = "meta"
    np.testing.assert_array_equal(buffer.observations, before)


@pytest.mark.parametrize("error", [ValueError("does not fit"), th.cuda.OutOfMemoryError("full"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["_place", "_fill"])
def test_a_move_that_fails_loses_nothing(where: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    source = stream()
    buffer = noted(
        DeviceReplayBuffer(20, source.observation_space, source.action_space, device="cpu", n_envs=2), source
    )
    before = copy.deepcopy(buffer)

    def fail(*_: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(DeviceReplayBuffer, where, fail)
        with pytest.raises(type(error)):
            buffer.device = "meta"
    assert buffer.device == th.device("cpu")
    assert buffer.size() == before.size() > 0
    np.testing.assert_array_equal(buffer.rewards, before.rewards)
    buffer.sample(4)
