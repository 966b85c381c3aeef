"""
What buffer.py measures: streams of transitions, and the replay buffers they go into.

``S`` is the number of steps in a stream, ``E`` that of environments.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer

from sac_ext import DeviceReplayBuffer

try:
    from tensordict import TensorDict
    from torchrl.data import LazyTensorStorage, RandomSampler
    from torchrl.data import ReplayBuffer as TorchRLReplayBuffer

    logging.getLogger("torchrl").setLevel(logging.WARNING)  # it announces every storage
    HAS_TORCHRL = True
except ImportError:
    HAS_TORCHRL = False

BATCH_SIZE = 256
FRAME_STACK = 4
EPISODE = 200  # steps, on average

VECTOR = spaces.Box(-np.inf, np.inf, (17,), np.float32)
ACTION = spaces.Box(-1.0, 1.0, (6,), np.float32)
FRAMES = spaces.Box(0, 255, (FRAME_STACK, 84, 84), np.uint8)
OBSERVATIONS: dict[str, spaces.Space[Any]] = {
    "vector": VECTOR,
    "dict": spaces.Dict({"vector": VECTOR, "image": spaces.Box(0, 255, (36, 36, 1), np.uint8)}),
    "frames": FRAMES,
}

Transition = tuple[Any, Any, np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]
Repeated = Callable[[int], None]  # does something as often as it is told


@dataclass(frozen=True)
class Cell:
    """
    :param kind: key of OBSERVATIONS
    :param n_envs: E
    :param capacity: capacity of the buffers, in transitions
    :param many: number of batches at once
    """

    kind: str
    n_envs: int
    capacity: int
    many: int

    def stream(self, rng: np.random.Generator) -> list[Transition]:
        """The arguments of ``add``, S times; the last of them is followed by the first."""
        done = rng.random((max(64, 512 // self.n_envs), self.n_envs)) < 1 / EPISODE
        timeout = done & (rng.random(done.shape) < 0.5)
        actions = rng.uniform(-1, 1, (*done.shape, *ACTION.shape)).astype(np.float32)
        rewards = rng.standard_normal(done.shape, np.float32)
        infos = [[{"TimeLimit.truncated": bool(cut_off)} for cut_off in row] for row in timeout]
        space, pairs = OBSERVATIONS[self.kind], []
        if isinstance(space, spaces.Dict):
            parts = {key: zip(*observations(part, 1, done, rng), strict=True) for key, part in space.items()}
            for pair in zip(*parts.values(), strict=True):
                pairs.append([dict(zip(parts, each, strict=True)) for each in zip(*pair, strict=True)])
        else:
            pairs += zip(*observations(space, FRAME_STACK if self.kind == "frames" else 1, done, rng), strict=True)
        return [(*pair, *step) for pair, *step in zip(pairs, actions, rewards, done, infos, strict=True)]


def observations(
    space: spaces.Space[Any], frame_stack: int, done: np.ndarray, rng: np.random.Generator
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """
    Stacks of random frames as ``VecFrameStack`` makes them: zeros before the first frame of an episode, and the
    terminal observation as next observation of its last step.

    :param frame_stack: frames in an observation, along its first axis
    :param done: ``(S, E)``
    :return: S observations and S next observations, ``(E, *shape)`` each
    """
    assert space.shape is not None
    steps, n_envs = done.shape
    frames, last_frames = (
        random_values((steps, n_envs, space.shape[0] // frame_stack, *space.shape[1:]), space, rng) for _ in range(2)
    )
    age = np.full(n_envs, frame_stack)  # steps since the episode began
    stacks: list[np.ndarray] = [np.empty(0)] * steps
    for step in range(-steps, steps):  # twice around, for the ages at the start
        age = np.where(done[(step - 1) % steps], 0, age + 1)
        if step >= 0:
            older = reversed(range(frame_stack))
            there = [np.expand_dims(age >= back, tuple(range(1, frames.ndim - 1))) for back in range(frame_stack)]
            stacks[step] = np.concatenate([frames[step - back] * there[back] for back in older], axis=1)
    next_stacks = stacks[1:] + stacks[:1]
    for step in np.flatnonzero(done.any(axis=1)):
        last = np.concatenate([stacks[step], last_frames[step]], axis=1)[:, -space.shape[0] :]
        next_stacks[step] = np.where(np.expand_dims(done[step], tuple(range(1, last.ndim))), last, next_stacks[step])
    return stacks, next_stacks


def random_values(shape: tuple[int, ...], space: spaces.Space[Any], rng: np.random.Generator) -> np.ndarray:
    if space.dtype == np.uint8:
        return rng.integers(0, 256, shape, np.uint8)
    return rng.standard_normal(shape, np.float32)


@dataclass
class Contender:
    """
    A full buffer.

    :param name: name in the table
    :param nbytes: size of its storage
    :param operations: ``add`` one transition of each environment; ``sample`` a batch of BATCH_SIZE; ``sample_many``
        batches, all at once; ``batches``, each dropped before the next. Each in one or several ways, by what is called
    """

    name: str
    nbytes: int
    operations: dict[str, dict[str, Repeated]]


def contenders(cell: Cell, device: str, rng: np.random.Generator) -> Iterator[Contender]:
    """SB3's comes first: the others are compared with it."""
    stream = cell.stream(rng)
    yield sb3_contender(cell, stream, device)
    yield sac_ext_contender(cell, stream, device, 1)
    if cell.kind == "frames":
        yield sac_ext_contender(cell, stream, device, FRAME_STACK)
    if HAS_TORCHRL:
        yield torchrl_contender(cell, stream, device)


def sb3_contender(cell: Cell, stream: list[Transition], device: str) -> Contender:
    space = OBSERVATIONS[cell.kind]
    cls = DictReplayBuffer if isinstance(space, spaces.Dict) else ReplayBuffer
    buffer = cls(cell.capacity, space, ACTION, device, cell.n_envs)
    add = each(buffer.add, stream)
    add(buffer.buffer_size)
    sample = repeated(lambda: buffer.sample(BATCH_SIZE))
    listed = repeated(lambda: [buffer.sample(BATCH_SIZE) for _ in range(cell.many)])
    return Contender(
        "SB3",
        sb3_nbytes(buffer),
        {
            "add": {"add": add},
            "sample": {"sample": sample},
            "sample_many": {"sample": listed},
            "batches": {"sample": lambda times: sample(cell.many * times)},
        },
    )


def sb3_nbytes(buffer: ReplayBuffer) -> int:
    stored = [buffer.actions, buffer.rewards, buffer.dones, buffer.timeouts]
    for arrays in (buffer.observations, buffer.next_observations):
        stored += arrays.values() if isinstance(arrays, dict) else [arrays]
    return sum(array.nbytes for array in stored)


def sac_ext_contender(cell: Cell, stream: list[Transition], device: str, frame_stack: int) -> Contender:
    buffer = DeviceReplayBuffer(
        cell.capacity,
        OBSERVATIONS[cell.kind],
        ACTION,
        device,
        cell.n_envs,
        frame_stack=frame_stack,
        storage_device=device,
    )
    add = each(buffer.add, stream)
    add(buffer.buffer_size)
    return Contender(
        "sac_ext" if frame_stack == 1 else f"sac_ext, frame_stack={frame_stack}",
        buffer.nbytes,
        {
            "add": {"add": add},
            "sample": {"sample": repeated(lambda: buffer.sample(BATCH_SIZE))},
            "sample_many": {"sample_many": repeated(lambda: buffer.sample_many(cell.many, BATCH_SIZE))},
            "batches": {"batches": repeated(lambda: deque(buffer.batches(cell.many, BATCH_SIZE), maxlen=0))},
        },
    )


def torchrl_contender(cell: Cell, stream: list[Transition], device: str) -> Contender:
    """
    TorchRL's ``ReplayBuffer``, which is faster than its ``TensorDictReplayBuffer``. The TensorDicts that it takes are
    made beforehand, since TorchRL's collectors have them.
    """
    buffer = TorchRLReplayBuffer(storage=LazyTensorStorage(cell.capacity, device=device), sampler=RandomSampler())
    steps = [tensordict(*transition) for transition in stream]
    chunk = th.cat(steps[: max(1, 1024 // cell.n_envs)])
    for _ in range(-(-cell.capacity // len(chunk))):
        buffer.extend(chunk)
    add = {"extend": each(buffer.extend, [(step,) for step in steps])}
    if cell.n_envs == 1:
        add["add"] = each(buffer.add, [(step[0],) for step in steps])
    sample = repeated(lambda: buffer.sample(BATCH_SIZE))
    listed = repeated(lambda: [buffer.sample(BATCH_SIZE) for _ in range(cell.many)])
    split = repeated(lambda: buffer.sample(cell.many * BATCH_SIZE).split(BATCH_SIZE))
    return Contender(
        "TorchRL",
        buffer[:].bytes(),
        {
            "add": add,
            "sample": {"sample": sample},
            "sample_many": {"sample": listed, "sample and split": split},
            "batches": {"sample": lambda times: sample(cell.many * times), "sample and split": split},
        },
    )


def tensordict(obs: Any, next_obs: Any, action: np.ndarray, reward: np.ndarray, done: np.ndarray, _: Any) -> Any:
    following = {"observation": next_obs, "reward": reward[:, None], "done": done[:, None]}
    return TensorDict({"observation": obs, "action": action, "next": following}, batch_size=[len(done)])


def each(add: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> Repeated:
    """Calls a function with the next arguments each time, over and over."""
    endless = cycle(arguments)

    def repeat(times: int) -> None:
        for step in islice(endless, times):
            add(*step)

    return repeat


def repeated(function: Callable[[], Any]) -> Repeated:
    def repeat(times: int) -> None:
        for _ in range(times):
            function()

    return repeat
