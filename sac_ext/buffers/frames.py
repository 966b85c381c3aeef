"""Observations of which each frame is kept once: stacks of frames, or (stacks of one) any observations.

An observation is a stack of S frames, and the next observation is the same stack without its oldest frame and with a
new one. So a row keeps one frame, the newest of its observation; the stack is rebuilt from the rows before it, and the
newest frame of the next observation lies in the row after it. What does not lie there is kept beside the rows, in a
pool: the last frame of an episode, and the older frames of a stack that an episode began with, unless they are zeros
or repetitions of its first frame. A row continues the one before it where its observation equals that row's next
observation, whatever the environment said about it: stacks never reach over the start of an episode.

``B`` entries asked for, ``E`` environments, ``S`` frames in a stack, ``L`` rows in the buffer.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

from sac_ext.buffers.observations import Entries, Live, ObservationStore
from sac_ext.buffers.ring import Column, MakeRing, Ring

# What lies before the first frame of an episode in its first stack, if not frames of the pool
ZEROS, REPEATED = -1, -2
NOT_IN_POOL = -1

INDEX = Column((), np.dtype(np.int64))
POOL_LENGTH = 64

AXES = ("auto", "first", "last")


@dataclass(frozen=True)
class Stacking:
    """
    :param size: S
    :param column: one observation
    :param last: the frames are stacked along the last axis, not the first
    """

    size: int
    column: Column
    last: bool

    @property
    def frame(self) -> Column:
        """One frame, with the axis along which it is stacked."""
        shape = list(self.column.shape)
        if shape:
            shape[-1 if self.last else 0] //= self.size
        return Column(tuple(shape), self.column.dtype)

    def split(self, observations: np.ndarray) -> np.ndarray:
        """
        :param observations: ``(E, *shape)``
        :return: ``(E, S, *frame)`` oldest frame first
        """
        n_envs, frame = len(observations), self.frame.shape
        if self.last:
            return np.moveaxis(observations.reshape(n_envs, *frame[:-1], self.size, frame[-1]), -2, 1)
        return observations.reshape(n_envs, self.size, *frame)

    def join(self, frames: th.Tensor) -> th.Tensor:
        """
        :param frames: ``(B, S, *frame)``
        :return: ``(B, *shape)``
        """
        if self.last:
            frames = frames.movedim(1, -2)
        return frames.reshape(len(frames), *self.column.shape)

    @staticmethod
    def of(name: str, size: int, axis: str, space: spaces.Space[Any], column: Column) -> "Stacking":
        """
        :param name: of the observation, for the error
        :param size: S
        :param axis: ``"first"``, ``"last"`` or ``"auto"``: for images where SB3 sees the channels, otherwise the first
            axis if its length is S (as gymnasium's ``FrameStackObservation`` stacks), or the last (SB3's
            ``VecFrameStack``)
        :param space: of the observation
        :param column: of the observation
        :raises ValueError: if that axis cannot hold S frames
        """
        shape = column.shape
        if axis == "auto":
            if is_image_space(space):
                last = not is_image_space_channels_first(space)  # type: ignore[arg-type]
            else:
                last = len(shape) == 1 or shape[0] != size
        else:
            last = axis == "last"
        if size > 1 and (not shape or shape[-1 if last else 0] % size):
            raise ValueError(
                f"frame_stack={size} needs stacked frames, but {name} has shape {shape}, whose "
                f"{'last' if last else 'first'} axis is no multiple of {size}: wrap the environment in VecFrameStack "
                "or FrameStackObservation, give frame_stack_axis, or leave frame_stack out"
            )
        return Stacking(size, column, last)


class FrameStore(ObservationStore):
    """
    Each frame once.

    :param stacking: how an observation is made of frames
    :param length: L
    :param n_envs: E
    :param make_ring: makes the rings it keeps the frames in
    """

    def __init__(self, stacking: Stacking, length: int, n_envs: int, make_ring: MakeRing) -> None:
        super().__init__(length)
        self.stacking = stacking
        self.n_envs = n_envs
        # S - 1 rows before the oldest, whose frames its stack needs, and one after the newest, for its next frame
        self.ring = make_ring(self.row_columns(stacking), length + stacking.size, n_envs)
        self.pool: Ring = make_ring({"frames": stacking.frame}, POOL_LENGTH, 1)
        self._pool_first = self._pool_end = 0
        self._pool_use: deque[tuple[int, int]] = deque()  # (row, first frame in the pool) of rows that use it
        self._depth = np.zeros(n_envs, np.int64)  # of the newest row
        # which frames are missing is looked up where that is fast; elsewhere the host would have to wait for the answer
        self._look_up = self.ring.device.type == "cpu"
        self._next_obs: np.ndarray | None = None  # of the newest row, (E, *shape)

    @staticmethod
    def row_columns(stacking: Stacking) -> dict[str, Column]:
        """
        Of a row: its frame; how many rows before it belong to its stack, up to S - 1; where its stack begins there,
        what was in it before; and where the next observation of the row before had another newest frame, that.
        """
        return {"frames": stacking.frame, "depth": INDEX, "before": INDEX, "cut_off": INDEX}

    @classmethod
    def nbytes_of(cls, stacking: Stacking, length: int, n_envs: int) -> int:
        """:return: what it takes at least, before the pool has grown"""
        row = sum(column.nbytes for column in cls.row_columns(stacking).values())
        return (length + stacking.size) * n_envs * row + POOL_LENGTH * stacking.frame.nbytes

    def check(self, name: str, obs: np.ndarray, next_obs: np.ndarray) -> None:
        older, newer = self.stacking.split(next_obs)[:, :-1], self.stacking.split(obs)[:, 1:]
        if not np.array_equal(older, newer, equal_nan=older.dtype.kind == "f"):
            raise ValueError(
                f"frame_stack={self.stacking.size} needs stacked frames, but next_{name} is not {name} moved on by one "
                f"frame along its {'last' if self.stacking.last else 'first'} axis: wrap the environment in "
                "VecFrameStack or FrameStackObservation, give frame_stack_axis, or leave frame_stack out"
            )

    def write(self, obs: np.ndarray, next_obs: np.ndarray) -> None:
        row, size = self.count, self.stacking.size
        self._free_pool(row)
        frames = self.stacking.split(obs)
        continues = self._continues(obs)
        self._depth = np.where(continues, np.minimum(self._depth + 1, size - 1), 0)
        before, cut_off = np.full(self.n_envs, ZEROS), np.full(self.n_envs, NOT_IN_POOL)
        for env in np.flatnonzero(~continues):
            if self._next_obs is not None:
                cut_off[env] = self._put_into_pool(row, self.stacking.split(self._next_obs)[env, -1:])
            older, first = frames[env, :-1], frames[env, -1:]
            if not older.any():
                before[env] = ZEROS
            elif (older == first).all():
                before[env] = REPEATED
            else:
                before[env] = self._put_into_pool(row, older[::-1])
        self.ring.write(row, {"frames": frames[:, -1], "depth": self._depth, "before": before, "cut_off": cut_off})
        next_frames = self.stacking.split(next_obs)[:, -1]
        self.ring.write(row + 1, {"frames": next_frames, "depth": 0, "before": ZEROS, "cut_off": NOT_IN_POOL})
        self._next_obs = next_obs.copy()
        self.count += 1

    def _continues(self, obs: np.ndarray) -> np.ndarray:
        """:return: ``(E,)`` whether a row with this observation continues the newest one"""
        if self.count == 0:
            return np.zeros(self.n_envs, bool)
        if self._next_obs is None:  # restored
            newest = th.full((self.n_envs,), (self.count - 1) % self.length, device=self.ring.device)
            envs = th.arange(self.n_envs, device=self.ring.device)
            self._next_obs = self.next_observations(Entries(newest, envs, self.n_envs)).cpu().numpy()
        same: np.ndarray = (obs == self._next_obs).reshape(self.n_envs, -1).all(axis=1)
        return same

    # ---------------------------------------------------------------- the pool

    def _put_into_pool(self, row: int, frames: np.ndarray) -> int:
        start, end = self._pool_end, self._pool_end + len(frames)
        if end - self._pool_first > self.pool.length:
            length = max(2 * self.pool.length, end - self._pool_first)
            self.pool = self.pool.grown(length, self._pool_first, self._pool_end)
        for index, frame in enumerate(frames):
            self.pool.write(start + index, {"frames": frame[None]})
        if not self._pool_use or self._pool_use[-1][0] != row:
            self._pool_use.append((row, start))
        self._pool_end = end
        return start

    def _free_pool(self, row: int) -> None:
        """Give up what only rows use that are overwritten once ``row`` and the one after it are written."""
        oldest = row + 2 - self.ring.length
        while self._pool_use and self._pool_use[0][0] < oldest:
            self._pool_use.popleft()
        self._pool_first = self._pool_use[0][1] if self._pool_use else self._pool_end

    # ---------------------------------------------------------------- reading

    def observations(self, entries: Entries) -> th.Tensor:
        return self.stacking.join(self._stack(self._row_numbers(entries), entries.envs, self.stacking.size))

    def next_observations(self, entries: Entries) -> th.Tensor:
        rows, envs = self._row_numbers(entries), entries.envs
        frames = self.ring.gather("frames", self._flat(rows + 1, envs))
        cut_off = self.ring.gather("cut_off", self._flat(rows + 1, envs))
        frames = self._overlay(frames, cut_off >= 0, cut_off)[:, None]
        if self.stacking.size > 1:
            frames = th.cat([self._stack(rows, envs, self.stacking.size - 1), frames], dim=1)
        return self.stacking.join(frames)

    def _row_numbers(self, entries: Entries) -> th.Tensor:
        """Of slots in the buffer."""
        newest = self.count - 1
        return newest - (newest - entries.rows) % self.length

    def _flat(self, rows: th.Tensor, envs: th.Tensor) -> th.Tensor:
        return rows % self.ring.length * self.n_envs + envs

    def _stack(self, rows: th.Tensor, envs: th.Tensor, size: int) -> th.Tensor:
        """
        :param rows: ``(B,)`` row numbers
        :param envs: ``(B,)``
        :param size: how many frames
        :return: ``(B, size, *frame)`` the newest frames of the observations, oldest first
        """
        if self.stacking.size == 1:
            return self.ring.gather("frames", self._flat(rows, envs))[:, None]
        depth = self.ring.gather("depth", self._flat(rows, envs))[:, None]  # (B, 1)
        age = th.arange(size - 1, -1, -1, device=rows.device)  # (size,)
        index = self._flat(rows[:, None] - th.minimum(age, depth), envs[:, None])  # (B, size)
        frames = self.ring.gather("frames", index.flatten())
        missing = age > depth  # (B, size): the first frame stands there so far
        before = self.ring.gather("before", self._flat(rows - depth[:, 0], envs))[:, None]  # (B, 1)
        frames = self._clear(frames, (missing & (before == ZEROS)).flatten())
        in_pool = (missing & (before >= 0)).flatten()
        frames = self._overlay(frames, in_pool, (before + age - depth - 1).flatten())
        return frames.view(len(rows), size, *self.stacking.frame.shape)

    def _clear(self, frames: th.Tensor, mask: th.Tensor) -> th.Tensor:
        if self._look_up:
            where = mask.nonzero()[:, 0]
            return frames.index_fill_(0, where, 0) if len(where) else frames
        return frames.masked_fill_(self._over_frames(mask), 0)

    def _overlay(self, frames: th.Tensor, mask: th.Tensor, pool_rows: th.Tensor) -> th.Tensor:
        """
        :param frames: ``(N, *frame)``
        :param mask: ``(N,)`` which of them to replace
        :param pool_rows: ``(N,)`` by which frame of the pool
        """
        if self._look_up:
            where = mask.nonzero()[:, 0]
            if len(where):
                frames[where] = self.pool.gather("frames", pool_rows[where] % self.pool.length)
            return frames
        replacements = self.pool.gather("frames", pool_rows.clamp(min=0) % self.pool.length)
        return th.where(self._over_frames(mask), replacements, frames)

    def _over_frames(self, mask: th.Tensor) -> th.Tensor:
        return mask.reshape(-1, *[1] * len(self.stacking.frame.shape))

    # ---------------------------------------------------------------- files

    def live(self) -> Iterator[tuple[str, Live]]:
        end = self.count + 1 if self.count else 0
        yield "rows", Live(self.ring, max(0, end - self.ring.length), end)
        yield "pool", Live(self.pool, self._pool_first, self._pool_end)

    def counters(self) -> dict[str, Any]:
        pool = {"pool_first": self._pool_first, "pool_end": self._pool_end, "pool_use": list(self._pool_use)}
        return super().counters() | pool | {"depth": self._depth.tolist()}

    def restore(self, counters: dict[str, Any]) -> None:
        super().restore(counters)
        self._pool_first, self._pool_end = counters["pool_first"], counters["pool_end"]
        self._pool_use = deque((row, start) for row, start in counters["pool_use"])
        self._depth = np.array(counters["depth"], np.int64)
        self._next_obs = None
        self.pool = self.pool.allocated(max(POOL_LENGTH, self._pool_end - self._pool_first))
