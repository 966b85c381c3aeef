"""DeviceReplayBuffer with bad input, and in the memory there is."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.buffers import ReplayBuffer

from sac_ext import DeviceReplayBuffer
from sac_ext.buffers import memory
from tests.streams import SPACES, add, assert_same_samples, stream

VECTOR, ACTION = spaces.Box(-1, 1, (3,), np.float32), spaces.Discrete(2)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"obs": np.zeros((2, 4), np.float32)}, ValueError, r"obs has shape \(2, 4\), expected \(2, 3\)"),
        ({"obs": np.zeros((3,), np.float32)}, ValueError, r"obs has shape \(3,\), expected \(2, 3\)"),
        ({"next_obs": np.zeros((1, 3), np.float32)}, ValueError, r"next_obs has shape \(1, 3\), expected \(2, 3\)"),
        ({"obs": np.zeros((2, 3), complex)}, TypeError, "obs has dtype complex128, expected float32"),
        ({"obs": np.array([["a"] * 3] * 2)}, TypeError, "obs has dtype <U1, expected float32"),
        ({"action": np.zeros(2)}, TypeError, "action has dtype float64, expected int64"),
        ({"action": np.zeros(3, int)}, ValueError, r"action has shape \(3,\), expected \(2, 1\)"),
        ({"reward": 0.0}, ValueError, r"reward has shape \(\), expected \(2,\)"),
        ({"done": np.zeros(1)}, ValueError, r"done has shape \(1,\), expected \(2,\)"),
        ({"infos": [{}]}, ValueError, "infos has 1 entries, expected 2, one per environment"),
    ],
)
def test_a_wrong_transition_is_refused_and_nothing_is_lost(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    buffer = DeviceReplayBuffer(10, VECTOR, ACTION, device="cpu", n_envs=2)
    add(buffer, obs=np.ones((2, 3), np.float32))
    with pytest.raises(error, match=message):
        add(buffer, **changes)
    assert buffer.size() == 1
    add(buffer, obs=np.full((2, 3), 2, np.float32))
    np.testing.assert_array_equal(buffer.observations[:3, 0, 0], [1, 2, 0])


def test_a_wrong_dict_names_its_key() -> None:
    buffer = DeviceReplayBuffer(10, SPACES["dict"], ACTION, device="cpu")
    obs = {key: value[None] for key, value in SPACES["dict"].sample().items()}
    for key, wrong, error in (
        ("image", obs["image"].astype(np.float32), TypeError),
        ("vector", np.zeros((1, 7), np.float32), ValueError),
    ):
        with pytest.raises(error, match=rf"next_obs\['{key}'\] has"):
            buffer.add(obs, obs | {key: wrong}, np.zeros(1, int), np.zeros(1), np.zeros(1), [{}])
    buffer.add(obs, obs, np.zeros(1, int), np.zeros(1), np.zeros(1), [{}])
    assert buffer.size() == 1


def test_a_single_environment_may_leave_its_axis_out() -> None:
    buffers = [cls(5, VECTOR, ACTION, device="cpu") for cls in (ReplayBuffer, DeviceReplayBuffer)]
    for buffer in buffers:
        buffer.add(np.ones(3, np.float32), np.ones(3), np.array(1), 0.5, True, [{}])
    assert_same_samples(*(buffer._get_samples(np.zeros(3, int)) for buffer in buffers))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_steps": 3}, "n_steps=3 needs gamma"),
        ({"n_steps": 0}, "n_steps must be >= 1"),
        ({"n_steps": 2, "gamma": 1.5}, "gamma must be between 0 and 1"),
        ({"soft_n_steps": True}, "soft_n_steps=True needs n_steps > 1"),
        ({"memory_limit": "much"}, "memory_limit must be a positive number of bytes or a string such as '8GB'"),
        ({"memory_limit": 0}, "memory_limit must be a positive number"),
        ({"memory_limit": "100 B"}, r"needs 792 B, more than memory_limit=100 B"),
        ({"storage_device": "gpu"}, "storage_device='gpu'"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeviceReplayBuffer(18, spaces.Box(-1, 1, (3,), np.float32), ACTION, device="cpu", **options)


@pytest.mark.skipif(th.cuda.is_available(), reason="for machines without one")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="storage_device='cuda:1', but torch sees no such device"):
        DeviceReplayBuffer(10, VECTOR, ACTION, device="cpu", storage_device="cuda:1")


def test_an_observation_type_that_torch_lacks() -> None:
    with pytest.raises(TypeError, match="obs has dtype float128, expected one of bool, uint8"):
        DeviceReplayBuffer(10, spaces.Box(-1, 1, (3,), np.longdouble), ACTION, device="cpu")


@pytest.mark.parametrize(
    "draw", [lambda b: b.sample(4), lambda b: b.sample_many(2, 4), lambda b: next(b.batches(2, 4))]
)
def test_an_empty_buffer(draw: Any) -> None:
    buffer = DeviceReplayBuffer(10, VECTOR, ACTION, device="cpu")
    with pytest.raises(ValueError, match="the replay buffer is empty"):
        draw(buffer)
    add(buffer)
    draw(buffer)
    buffer.reset()
    with pytest.raises(ValueError, match="the replay buffer is empty"):
        draw(buffer)


def test_a_batch_of_nothing() -> None:
    buffer = stream().make(DeviceReplayBuffer)
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 1 and 0"):
        buffer.sample(0)


def test_notes_that_are_not_kept() -> None:
    buffer = DeviceReplayBuffer(10, VECTOR, ACTION, device="cpu")
    with pytest.raises(ValueError, match="keeps no entropies: see its arguments soft_n_steps"):
        buffer.note(entropies=np.zeros(1))


# ---------------------------------------------------------------- memory


def test_bytes_are_known_before_they_are_taken() -> None:
    buffer = stream(n_envs=1).make(DeviceReplayBuffer)
    columns = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
    assert buffer.nbytes == sum(getattr(buffer, name).nbytes for name in columns)
    assert DeviceReplayBuffer(10**5, VECTOR, ACTION, device="cpu")._storage is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1000, 1000), ("1000", 1000), ("8GB", 8 * 10**9), ("1.5 MiB", 3 * 2**19), ("2kb", 2000), (1e9, 10**9)],
)
def test_numbers_of_bytes(value: Any, expected: int) -> None:
    assert memory.parse_bytes("memory_limit", value) == expected


@given(text=st.one_of(st.text(), st.floats(), st.booleans(), st.none()))
def test_anything_else_is_no_number_of_bytes(text: Any) -> None:
    try:
        message = None if memory.parse_bytes("memory_limit", text) >= 0 else "negative"
    except ValueError as error:
        message = str(error)
    assert message is None or "memory_limit must be a positive number of bytes" in message


CUDA, HOST = th.device("cuda"), th.device("cpu")


@pytest.mark.parametrize(
    ("requested", "device", "limit", "free", "expected"),
    [
        ("auto", CUDA, None, {"cuda": 200, "cpu": 200}, CUDA),
        ("auto", CUDA, None, {"cuda": 50, "cpu": 200}, "stored on the host instead"),
        ("auto", CUDA, 80, {"cuda": 200, "cpu": 200}, "stored on the host instead"),
        ("auto", CUDA, None, {"cuda": 50, "cpu": 50}, ValueError),
        ("cuda", CUDA, None, {"cuda": 50, "cpu": 200}, ValueError),
        ("cuda", HOST, None, {"cuda": 200, "cpu": 50}, CUDA),
        ("cpu", CUDA, None, {"cuda": 50, "cpu": 200}, HOST),
        ("cpu", CUDA, 80, {"cuda": 200, "cpu": 200}, ValueError),
        ("auto", HOST, None, {"cpu": 50}, "free on cpu"),
        ("auto", HOST, 80, {"cpu": 200}, ValueError),
    ],
)
def test_where_a_buffer_of_100_bytes_goes(
    requested: str, device: th.device, limit: int | None, free: dict[str, int], expected: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda target: free[target.type])
    monkeypatch.setattr(memory, "exists", lambda target: True)
    if expected is ValueError:
        with pytest.raises(ValueError, match=r"needs 100 B.*(50|80) B.*smaller buffer_size"):
            memory.place(100, requested, device, limit)
    elif isinstance(expected, str):
        with pytest.warns(UserWarning, match=f"needs 100 B.*(50|80) B.*{expected}"):
            assert memory.place(100, requested, device, limit) == HOST
    else:
        assert memory.place(100, requested, device, limit) == expected


# ---------------------------------------------------------------- what went wrong once


def test_only_unfinished_episodes_are_cut_off() -> None:
    buffer = stream(done=0.5, timeout=0.0, n_envs=3).make(DeviceReplayBuffer)
    newest = buffer.pos - 1
    buffer.dones[newest] = [1, 0, 1]
    buffer.truncate_last_trajectory()
    np.testing.assert_array_equal(buffer.timeouts[newest], [0, 1, 0])
    assert buffer.timeouts.sum() == 1
    DeviceReplayBuffer(10, VECTOR, ACTION, device="cpu").truncate_last_trajectory()


def test_reset_gives_the_memory_back() -> None:
    buffer = stream().make(DeviceReplayBuffer)
    buffer.reset()
    assert buffer._storage is None
    assert (buffer.pos, buffer.full) == (0, False)
    stream(steps=3).fill(buffer)
    assert buffer.size() == 3


def test_entropies_are_told_anew_for_every_transition() -> None:
    buffer = DeviceReplayBuffer(10, VECTOR, ACTION, device="cpu", n_steps=2, gamma=0.9, soft_n_steps=True)
    buffer.note(entropies=np.ones(1))
    add(buffer)
    with pytest.raises(ValueError, match="before every add"):
        add(buffer)


@pytest.mark.parametrize("observations", ["vector", "image", "dict"])
@pytest.mark.parametrize("batch_size", [1, 3, 31])
def test_batches_start_where_separate_ones_would(observations: str, batch_size: int) -> None:
    """At multiples of 64 bytes: products may depend on that in the last bit."""
    for batch in stream(observations=observations).make(DeviceReplayBuffer).sample_many(4, batch_size):
        parts = batch.observations.values() if observations == "dict" else [batch.observations]
        for tensor in (*parts, batch.actions, batch.rewards, batch.dones):
            assert tensor.data_ptr() % 64 == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prioritized": "False"}, TypeError, "prioritized must be True or False, got 'False'"),
        ({"optimize_memory_usage": "no"}, TypeError, "optimize_memory_usage must be True or False"),
        ({"handle_timeout_termination": 0}, TypeError, "handle_timeout_termination must be True or False"),
        ({"n_envs": 0}, ValueError, "n_envs must be >= 1, got 0"),
        ({"n_envs": 1.5}, TypeError, "n_envs must be an integer, got 1.5"),
        ({"storage_device": "mps"}, ValueError, "storage_device='mps', but torch sees no such device"),
    ],
)
def test_arguments_of_other_types(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        DeviceReplayBuffer(10, VECTOR, ACTION, device="cpu", **options)


def test_whole_numbers_of_other_types() -> None:
    buffer = DeviceReplayBuffer(10, SPACES["image"], spaces.MultiBinary(2), device="cpu")
    obs = np.full((1, 1, 6, 6), 200)
    buffer.add(obs, obs, np.ones((1, 2)) > 0, np.ones(1, int), np.ones(1, int), [{}])
    assert buffer._get_samples(np.zeros(1, int)).observations.max() == 200


@pytest.mark.parametrize("obs", [{}, {"vector": np.zeros((1, 3))}, np.zeros((1, 3))])
def test_a_dict_that_lacks_keys(obs: Any) -> None:
    buffer = DeviceReplayBuffer(10, SPACES["dict"], ACTION, device="cpu")
    with pytest.raises(ValueError, match=r"obs must be a dict with the keys \['discrete', 'image', 'vector'\]"):
        buffer.add(obs, obs, np.zeros(1, int), np.zeros(1), np.zeros(1), [{}])


def test_what_just_fits_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.place(100, "auto", HOST, 100) == HOST
    monkeypatch.setattr(th.cuda, "mem_get_info", lambda device: (1000, 2000))
    assert memory.available_bytes(CUDA) == 900


@pytest.mark.filterwarnings("ignore:the replay buffer needs")
def test_more_memory_than_there_is() -> None:
    buffer = DeviceReplayBuffer(10**15, VECTOR, ACTION, device="cpu")
    message = r"the replay buffer needs 44000\.00 TB, which cannot be allocated\. Choose a smaller buffer_size"
    with pytest.raises(MemoryError, match=message):
        add(buffer)
