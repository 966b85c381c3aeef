"""Streams of transitions for replay buffers: the same ones into several buffers."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from hypothesis import strategies as st

from tests.compare import assert_equal

SPACES: dict[str, spaces.Space[Any]] = {
    "vector": spaces.Box(-1.0, 1.0, (7,), np.float32),
    "scalar": spaces.Box(-1.0, 1.0, (), np.float32),
    "flags": spaces.Box(0, 1, (3,), np.bool_),
    "double": spaces.Box(-1.0, 1.0, (2,), np.float64),
    "image": spaces.Box(0, 255, (1, 6, 6), np.uint8),
    "discrete": spaces.Discrete(5),
    "multi-discrete": spaces.MultiDiscrete([3, 4]),
    "multi-binary": spaces.MultiBinary(3),
    "dict": spaces.Dict(
        {
            "vector": spaces.Box(-1.0, 1.0, (3,), np.float32),
            "image": spaces.Box(0, 255, (1, 4, 4), np.uint8),
            "discrete": spaces.Discrete(5),
        }
    ),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "box": spaces.Box(-1.0, 1.0, (2,), np.float32),
    "double-box": spaces.Box(-1.0, 1.0, (2,), np.float64),
    "discrete": spaces.Discrete(4),
    "multi-discrete": spaces.MultiDiscrete([2, 3]),
    "multi-binary": spaces.MultiBinary(2),
}


@dataclass(frozen=True)
class Stream:
    """
    :param steps: how many times ``add`` is called
    :param done: probability that an episode ends with a step
    :param timeout: probability that it was cut off, where it ends
    """

    observations: str
    actions: str
    n_envs: int
    length: int
    steps: int
    done: float
    timeout: float
    seed: int

    @property
    def observation_space(self) -> spaces.Space[Any]:
        return SPACES[self.observations]

    @property
    def action_space(self) -> spaces.Space[Any]:
        return ACTIONS[self.actions]

    def make(self, cls: type, **kwargs: Any) -> Any:
        """A buffer that has been through the stream."""
        size = self.length * self.n_envs
        buffer = cls(size, self.observation_space, self.action_space, device="cpu", n_envs=self.n_envs, **kwargs)
        self.fill(buffer)
        return buffer

    def fill(self, buffer: Any) -> None:
        for transition in self.transitions():
            buffer.add(*transition)

    def transitions(self) -> list[tuple[Any, ...]]:
        rng = np.random.default_rng(self.seed)
        # spaces draw from generators of their own
        self.observation_space.seed(self.seed)
        self.action_space.seed(self.seed)
        transitions = []
        obs = self._observations()
        for _ in range(self.steps):
            next_obs, first_obs = self._observations(), self._observations()
            done = rng.random(self.n_envs) < self.done
            timeout = done & (rng.random(self.n_envs) < self.timeout)
            action = np.stack([self.action_space.sample() for _ in range(self.n_envs)])
            infos = [{"TimeLimit.truncated": bool(value)} for value in timeout]
            transitions.append((obs, next_obs, action, rng.normal(size=self.n_envs), done, infos))
            obs = _where(done, first_obs, next_obs)
        return transitions

    def _observations(self) -> Any:
        samples = [self.observation_space.sample() for _ in range(self.n_envs)]
        if isinstance(samples[0], dict):
            return {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}
        return np.stack(samples)

    def but(self, **changes: Any) -> "Stream":
        return replace(self, **changes)


def stream(**changes: Any) -> Stream:
    """A usual one, over the ring's seam, but for the changes."""
    return Stream("vector", "box", n_envs=2, length=10, steps=25, done=0.2, timeout=0.5, seed=0).but(**changes)


def _where(mask: np.ndarray, left: Any, right: Any) -> Any:
    if isinstance(left, dict):
        return {key: _where(mask, left[key], right[key]) for key in left}
    return np.where(mask.reshape(-1, *[1] * (left.ndim - 1)), left, right)


def streams(observations: list[str] | None = None) -> st.SearchStrategy[Stream]:
    """Short ones, empty never, that mostly go around the ring."""
    return st.builds(
        Stream,
        observations=st.sampled_from(observations or list(SPACES)),
        actions=st.sampled_from(list(ACTIONS)),
        n_envs=st.integers(1, 3),
        length=st.integers(1, 9),
        steps=st.integers(1, 25),
        done=st.sampled_from([0.0, 0.2, 0.6, 1.0]),
        timeout=st.sampled_from([0.0, 0.5, 1.0]),
        seed=st.integers(0, 2**16),
    )


def assert_same_samples(expected: Any, actual: Any) -> None:
    """Fields, types, shapes, devices and bits."""
    assert type(expected) is type(actual)
    for name, left, right in zip(expected._fields, expected, actual, strict=True):
        assert_same_type(left, right, name)
    assert_equal(_without_none(expected), _without_none(actual))


def assert_same_contents(expected: Any, actual: Any) -> None:
    """Every row, several environments of each."""
    rows = np.arange(expected.size()).repeat(4)
    samples = []
    for buffer in (expected, actual):
        np.random.seed(0)
        samples.append(buffer._get_samples(rows))
    assert_same_samples(*samples)


def assert_same_type(left: Any, right: Any, name: str) -> None:
    if isinstance(left, dict):
        assert list(left) == list(right), name
        for key in left:
            assert_same_type(left[key], right[key], f"{name}/{key}")
    elif isinstance(left, th.Tensor):
        assert (left.dtype, left.shape, left.device) == (right.dtype, right.shape, right.device), name
    else:
        assert left is None, name
        assert right is None, name


def _without_none(samples: Any) -> dict[str, Any]:
    return {name: value for name, value in samples._asdict().items() if value is not None}


def add(buffer: Any, **changes: Any) -> None:
    """One transition of three numbers and a discrete action, all zeros but for the changes."""
    n_envs = buffer.n_envs
    good = {
        "obs": np.zeros((n_envs, 3), np.float32),
        "next_obs": np.zeros((n_envs, 3), np.float32),
        "action": np.zeros(n_envs, int),
        "reward": np.zeros(n_envs),
        "done": np.zeros(n_envs),
        "infos": [{}] * n_envs,
    }
    buffer.add(**good | changes)
