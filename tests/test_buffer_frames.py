"""Frames stored once: the stacks that come out are those that went in."""

import io
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FrameStackObservation
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from sac_ext import DeviceReplayBuffer, SoftAC
from sac_ext.buffers.ring import DeviceRing
from sac_ext.buffers.storage import Storage
from tests.catalogue import SMALL, SMALL_CNN, SMALL_DICT, RandomEnv, small
from tests.compare import assert_same_models
from tests.streams import assert_same_contents

ACTION = spaces.Discrete(2)


class Frames:
    """
    Stacks of small frames of two kinds, so that different frames are often equal. Episodes begin with zeros before
    their first frame (``VecFrameStack``), with that frame repeated (``FrameStackObservation``) or with anything; some
    are broken off without a word, as by a reset of the environment between two calls of ``learn``.

    :param size: frames in a stack
    :param frame: shape of one frame
    :param axis: along which they are concatenated
    """

    def __init__(self, size: int, frame: tuple[int, ...], axis: int, seed: int) -> None:
        self.size, self.frame, self.axis = size, frame, axis
        self.rng = np.random.default_rng(seed)
        self.pattern = self.rng.integers(1, 9, frame, np.uint8)
        shape = list(frame)
        shape[axis] *= size
        self.space = spaces.Box(0, 255, tuple(shape), np.uint8)

    def new(self) -> np.ndarray:
        return np.full(self.frame, self.rng.integers(0, 2), np.uint8) * self.pattern

    def first(self) -> list[np.ndarray]:
        frame, older = self.new(), self.rng.integers(3)
        if older == 0:
            return [np.zeros_like(frame)] * (self.size - 1) + [frame]
        return [frame if older == 1 else self.new() for _ in range(self.size - 1)] + [frame]

    def stack(self, frames: list[np.ndarray]) -> np.ndarray:
        return np.concatenate(frames, axis=self.axis)

    def transitions(self, n_envs: int, steps: int, done: float, broken: float) -> Iterator[tuple[Any, ...]]:
        stacks = [self.first() for _ in range(n_envs)]
        for _ in range(steps):
            following = [[*frames[1:], self.new()] for frames in stacks]
            dones = self.rng.random(n_envs) < done
            timeouts = dones & (self.rng.random(n_envs) < 0.5)
            yield (
                np.stack([self.stack(frames) for frames in stacks]),
                np.stack([self.stack(frames) for frames in following]),
                self.rng.integers(0, 2, n_envs),
                self.rng.normal(size=n_envs),
                dones,
                [{"TimeLimit.truncated": bool(timeout)} for timeout in timeouts],
            )
            again = dones | (self.rng.random(n_envs) < broken)
            stacks = [self.first() if new else frames for new, frames in zip(again, following, strict=True)]


cases = st.fixed_dictionaries(
    {
        "size": st.integers(1, 5),
        "layout": st.sampled_from(["first", "last", "new-axis"]),
        "n_envs": st.integers(1, 3),
        "length": st.integers(1, 12),
        "steps": st.integers(1, 40),
        "done": st.sampled_from([0.0, 0.1, 0.5, 1.0]),
        "broken": st.sampled_from([0.0, 0.2]),
        "seed": st.integers(0, 2**16),
    }
)
LAYOUTS = {"first": ((4, 8), 0), "last": ((9, 4), -1), "new-axis": ((1, 5, 6), 0)}


def pair(case: dict[str, Any], **options: Any) -> tuple[ReplayBuffer, DeviceReplayBuffer, list[tuple[Any, ...]]]:
    """SB3's buffer and ours with the same transitions."""
    frame, axis = LAYOUTS[case["layout"]]
    frames = Frames(case["size"], frame, axis, case["seed"])
    stream = list(frames.transitions(case["n_envs"], case["steps"], case["done"], case["broken"]))
    size = case["length"] * case["n_envs"]
    expected = ReplayBuffer(size, frames.space, ACTION, device="cpu", n_envs=case["n_envs"])
    options = {"frame_stack": case["size"], "frame_stack_axis": "last" if axis else "first"} | options
    once = {"optimize_memory_usage": True} if case["size"] == 1 else {}
    actual = DeviceReplayBuffer(size, frames.space, ACTION, device="cpu", n_envs=case["n_envs"], **options, **once)
    for transition in stream:
        expected.add(*transition)
        actual.add(*transition)
    return expected, actual, stream


@given(case=cases, look_up=st.booleans())
def test_stacks_are_rebuilt(case: dict[str, Any], look_up: bool) -> None:
    expected, actual, _ = pair(case)
    actual.storage.frames[""]._look_up = look_up  # False on devices that the host should not wait for
    assert_same_contents(expected, actual)


@given(case=cases)
def test_stacks_are_rebuilt_from_a_staged_store(case: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Storage,
            "_ring",
            lambda self, columns, length, width, by_env=False: DeviceRing(columns, length, width, by_env, self.device),
        )
        expected, actual, _ = pair(case)
        assert_same_contents(expected, actual)


@given(case=cases)
def test_adding_goes_on_after_loading(case: dict[str, Any]) -> None:
    expected, actual, stream = pair(case)
    file = io.BytesIO()
    actual.save(file)
    file.seek(0)
    loaded = DeviceReplayBuffer.load(file, actual.observation_space, ACTION, device="cpu")
    assert_same_contents(expected, loaded)
    for transition in stream[::-1]:
        expected.add(*transition)
        loaded.add(*transition)
    assert_same_contents(expected, loaded)


@given(case=cases, n_steps=st.integers(2, 4))
def test_n_steps_of_stacks(case: dict[str, Any], n_steps: int) -> None:
    _, actual, stream = pair(case | {"broken": 0.0}, n_steps=n_steps, gamma=0.9)
    expected = NStepReplayBuffer(
        case["length"] * case["n_envs"],
        actual.observation_space,
        ACTION,
        device="cpu",
        n_envs=case["n_envs"],
        n_steps=n_steps,
        gamma=0.9,
    )
    for transition in stream:
        expected.add(*transition)
    assert_same_contents(expected, actual)


def test_only_some_keys_of_dict_observations() -> None:
    frames = Frames(3, (1, 2, 2), 0, seed=0)
    space = spaces.Dict({"image": frames.space, "vector": spaces.Box(-1, 1, (2,), np.float32)})
    expected = DictReplayBuffer(10, space, ACTION, device="cpu")
    actual = DeviceReplayBuffer(10, space, ACTION, device="cpu", frame_stack={"image": 3}, frame_stack_axis="first")
    rng = np.random.default_rng(0)
    for obs, next_obs, *rest in frames.transitions(1, 25, 0.2, 0.0):
        now, then = (
            {"image": image, "vector": rng.normal(size=(1, 2)).astype(np.float32)} for image in (obs, next_obs)
        )
        for buffer in (expected, actual):
            buffer.add(dict(now), dict(then), *rest)
    assert_same_contents(expected, actual)


@pytest.mark.filterwarnings("ignore:the replay buffer needs")
def test_a_million_atari_transitions_take_seven_gigabytes() -> None:
    observation_space = spaces.Box(0, 255, (4, 84, 84), np.uint8)
    whole, once = (
        DeviceReplayBuffer(1_000_000, observation_space, ACTION, device="cpu", frame_stack=size).nbytes
        for size in (1, 4)
    )
    assert 56e9 < whole < 57e9
    assert 7.0e9 < once < 7.2e9


def test_what_is_allocated_is_what_was_announced() -> None:
    """``nbytes`` before allocating, against the arrays, for short episodes that make the pool grow."""
    frames = Frames(4, (1, 8, 8), 0, seed=0)
    buffer = DeviceReplayBuffer(300, frames.space, ACTION, device="cpu", frame_stack=4)
    for transition in frames.transitions(1, 1000, 0.01, 0.0):
        buffer.add(*transition)
    assert buffer.nbytes == sum(live.ring.nbytes for live in buffer.storage.live().values())
    for transition in frames.transitions(1, 1000, 0.9, 0.0):
        buffer.add(*transition)
    pool = buffer.storage.live()["observations/pool"]
    assert 300 < pool.end - pool.first <= pool.ring.length <= 2048


# ---------------------------------------------------------------- training


def stacked_images(n_envs: int = 1) -> VecFrameStack:
    return VecFrameStack(DummyVecEnv([lambda: RandomEnv("image")] * n_envs), 3)


def stacked_dict() -> VecFrameStack:
    return VecFrameStack(DummyVecEnv([lambda: RandomEnv("dict")]), 2)


def stacked_vectors() -> gym.Env:
    return FrameStackObservation(RandomEnv("vector"), 4)


@pytest.mark.parametrize(
    ("make_env", "policy", "policy_kwargs", "size"),
    [
        (stacked_images, "CnnPolicy", SMALL_CNN, 3),
        (lambda: stacked_images(2), "CnnPolicy", SMALL_CNN, 3),
        (stacked_dict, "MultiInputPolicy", SMALL_DICT, 2),
        (stacked_vectors, "MlpPolicy", SMALL, 4),
    ],
    ids=["images", "n-envs", "dict", "gymnasium"],
)
def test_training_equals_sac_bit_for_bit(make_env: Any, policy: str, policy_kwargs: Any, size: int) -> None:
    """SAC with its own buffer of whole stacks; the ring goes around, and learn() is called twice."""
    models = []
    for algorithm, options in ((SAC, {}), (SoftAC, {"replay_buffer_kwargs": {"frame_stack": size}})):
        model = algorithm(
            policy,
            make_env(),
            seed=1,
            device="cpu",
            learning_starts=30,
            batch_size=16,
            buffer_size=50,
            policy_kwargs=policy_kwargs,
            **options,
        )
        models.append(model.learn(80).learn(20))
    assert_same_models(*models)


# ---------------------------------------------------------------- what is no stack


def add_all(buffer: DeviceReplayBuffer, transitions: Iterator[tuple[Any, ...]]) -> None:
    for transition in transitions:
        buffer.add(*transition)


def add_vectors(buffer: DeviceReplayBuffer, obs: Any, next_obs: Any) -> None:
    buffer.add(
        np.array([obs], np.float32), np.array([next_obs], np.float32), np.zeros(1, int), np.zeros(1), np.zeros(1), [{}]
    )


def test_data_that_is_not_stacked() -> None:
    space = spaces.Box(-1, 1, (4,), np.float32)
    buffer = DeviceReplayBuffer(10, space, ACTION, device="cpu", frame_stack=2)
    add_vectors(buffer, [0, 0, 1, 2], [1, 2, 3, 4])
    with pytest.raises(ValueError, match="next_obs is not obs shifted by one frame along its last axis"):
        add_vectors(buffer, [1, 2, 3, 4], [5, 6, 7, 8])
    assert buffer.size() == 1
    add_vectors(buffer, [1, 2, 3, 4], [3, 4, 5, 6])
    np.testing.assert_array_equal(buffer._get_samples(np.array([1])).observations[0], [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_stack": 3}, r"frame_stack=3 needs stacked frames, but obs has shape \(4,\)"),
        ({"frame_stack": 0}, "frame_stack must be >= 1, got 0"),
        ({"frame_stack": {"image": 2}}, "frame_stack={'image': 2} must have keys of the observation space"),
        ({"frame_stack_axis": "middle"}, "frame_stack_axis must be one of 'auto', 'first', 'last', got 'middle'"),
    ],
)
def test_arguments_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeviceReplayBuffer(10, spaces.Box(-1, 1, (4,), np.float32), ACTION, device="cpu", **options)


# ---------------------------------------------------------------- what went wrong once


def test_the_pool_goes_around_and_through_files() -> None:
    """Episodes of one step: the pool grows beyond its first length, and its oldest frames are overwritten."""
    case = {"size": 3, "layout": "first", "n_envs": 2, "length": 50, "steps": 400, "done": 1.0, "broken": 0, "seed": 3}
    expected, actual, stream = pair(case)
    pool = actual.storage.frames[""]
    assert pool._pool_end > 3 * pool.pool.length > 3 * 64
    assert_same_contents(expected, actual)
    file = io.BytesIO()
    actual.save(file)
    file.seek(0)
    loaded = DeviceReplayBuffer.load(file, actual.observation_space, ACTION, device="cpu")
    for transition in stream[100::-1]:
        expected.add(*transition)
        loaded.add(*transition)
        assert_same_contents(expected, loaded)
    live = loaded.storage.live()["observations/pool"]
    assert live.end - live.first <= 3 * 2 * 55  # what is overwritten is given up


@pytest.mark.parametrize("seed", range(4))  # frames are of two kinds: a wrong one may look right
def test_the_pool_grows_in_time(seed: int) -> None:
    """A frame more in every other step, through its first length."""
    case = {"size": 1, "layout": "first", "n_envs": 1, "length": 200, "steps": 0, "done": 1.0, "broken": 0, "seed": 3}
    expected, actual, _ = pair(case)
    for transition in Frames(1, (4, 8), 0, seed).transitions(1, 180, 1.0, 0.0):
        expected.add(*transition)
        actual.add(*transition)
        assert_same_contents(expected, actual)


def test_what_the_caller_does_to_its_arrays_later_changes_nothing() -> None:
    frames = Frames(2, (1, 5, 6), 0, seed=0)
    expected, actual = (
        cls(10, frames.space, ACTION, device="cpu", **options)
        for cls, options in ((ReplayBuffer, {}), (DeviceReplayBuffer, {"frame_stack": 2}))
    )
    for transition in frames.transitions(1, 8, 0.3, 0.0):
        for buffer in (expected, actual):
            copies = [np.array(each) for each in transition[:5]]
            buffer.add(*copies, transition[5])
            for array in copies[:2]:
                array[:] = 99
    assert_same_contents(expected, actual)


def test_normalised_stacks() -> None:
    """
    SB3 takes the normalisation of an episode's last observation back, which rounds it: it no longer equals the frames
    before it.
    """
    env = VecNormalize(VecFrameStack(DummyVecEnv([lambda: RandomEnv("vector")] * 2), 4))
    model = SoftAC(
        "MlpPolicy", env, replay_buffer_kwargs={"frame_stack": 4}, learning_starts=10, policy_kwargs=small(), seed=0
    ).learn(100)
    buffer = model.replay_buffer
    assert buffer.dones.any()
    batch = buffer._get_samples(np.arange(50))
    np.testing.assert_array_equal(batch.next_observations[:, :9], batch.observations[:, 3:])


@pytest.mark.parametrize("shape", [(3,), (6,), (100,)])
def test_storing_once_never_takes_more(shape: tuple[int, ...]) -> None:
    space = spaces.Box(-1, 1, shape, np.float32)
    plain, once = (
        DeviceReplayBuffer(1000, space, ACTION, device="cpu", optimize_memory_usage=value).nbytes
        for value in (False, True)
    )
    assert once <= plain


def test_very_short_episodes_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sac_ext.buffers.frames.NOTABLE", 1000)
    frames = Frames(2, (1, 8, 8), 0, seed=0)
    buffer = DeviceReplayBuffer(200, frames.space, ACTION, device="cpu", frame_stack=2)
    with pytest.warns(
        UserWarning, match=r"episodes are so short that their last frames need 8\.19 KB on top of the 17"
    ):
        add_all(buffer, frames.transitions(1, 100, 1.0, 0.0))


def test_a_second_learn_ends_no_episode(recwarn: pytest.WarningsRecorder) -> None:
    """SB3 would declare the last transition of the first one terminal, and warn of it."""

    class Endless(RandomEnv):
        def step(self, action: Any) -> Any:
            observation, reward, _, _, info = super().step(action)
            return observation, reward, False, False, info

    model = SoftAC("CnnPolicy", Endless("image"), optimize_memory_usage=True, learning_starts=100, buffer_size=100)
    model.learn(20).learn(20)
    assert not model.replay_buffer.dones.any()
    assert model.optimize_memory_usage
    assert not recwarn.list
