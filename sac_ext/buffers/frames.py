"""Observations whose frames are stored once each: stacks of frames, or any observations (as stacks of one).

An observation is a stack of S frames, and the next observation is the same stack without its oldest frame and with a
new one. So a row keeps one frame, the newest of its observation; the stack is rebuilt from the rows before it, and the
newest frame of the next observation is in the row after it. What cannot be found there is kept beside the rows, in a
pool: the last frame of an episode, and the older frames of a stack that an episode began with, unless they are zeros
or repetitions of its first frame. A row continues the one before it if its observation equals that row's next
observation, whatever the environment reported: stacks never reach beyond the start of an episode.

``B`` entries asked for, ``E`` environments, ``S`` frames in a stack, ``L`` rows in the buffer.
"""

import warnings
from collections import deque
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first

from sac_ext.buffers.memory import format_bytes
from sac_ext.buffers.ring import Column, Entries, Live, MakeRing, Ring

# Three integers of each row:
# DEPTH    how many rows directly before it hold the older frames of its stack, up to S - 1
# BEFORE   of the first row of an episode: where the older frames of its stack are. ZEROS or REPEATED (this row's own
#          frame again), or IN_POOL plus a position in the pool
# CUT_OFF  of the first row of an episode: IN_POOL plus the position in the pool of the last frame of the previous
#          episode, whose place this row's frame has taken; otherwise 0
LINKS = Column((3,), np.dtype(np.int64))
DEPTH, BEFORE, CUT_OFF = range(3)
ZEROS, REPEATED, IN_POOL = range(3)

POOL_LENGTH = 64  # initially

NOTABLE = 64 * 2**20

AXES = ("auto", "first", "last")


@dataclass(frozen=True)
class Stacking:
    """
    How an observation is a stack of frames.

    :param name: of the observation, for errors
    :param size: S
    :param column: one observation
    :param last: the frames are stacked along the last axis, not the first
    """

    name: str
    size: int
    column: Column
    last: bool

    @cached_property
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

    def newest(self, observations: np.ndarray) -> np.ndarray:
        """
        :param observations: ``(E, *shape)``
        :return: ``(E, *frame)``
        """
        if not self.frame.shape:
            return observations
        return observations[..., -self.frame.shape[-1] :] if self.last else observations[:, -self.frame.shape[0] :]

    def words(self, observations: np.ndarray) -> np.ndarray:
        """
        :param observations: ``(E, *shape)``
        :return: ``(E, before, S, words)`` their bits, in the longest words that a frame can be divided into; ``before``
            counts the entries along the axes before that of the stack
        """
        n_envs, frame = len(observations), self.frame
        before = prod(frame.shape[:-1]) if self.last else 1
        nbytes = frame.nbytes // before
        word = next(size for size in (8, 4, 2, 1) if nbytes % size == 0)
        bits = np.ascontiguousarray(observations).reshape(-1).view(f"u{word}")
        return bits.reshape(n_envs, before, self.size, nbytes // word)

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
        :param axis: ``"first"``, ``"last"`` or ``"auto"``, which is the channel axis where SB3 sees an image, otherwise
            the first axis if its length is S (as with gymnasium's ``FrameStackObservation``), else the last (as with
            SB3's ``VecFrameStack``)
        :param space: of the observation
        :param column: of the observation
        :raises ValueError: if that axis cannot hold S frames
        """
        shape = column.shape
        if axis == "auto":
            if is_image_space(space):
                last = not is_image_space_channels_first(space)  # type: ignore[arg-type]
            else:
                last = len(shape) == 1 or (len(shape) > 1 and shape[0] != size)
        else:
            last = axis == "last" and len(shape) > 0
        if size > 1 and (not shape or shape[-1 if last else 0] % size):
            raise ValueError(
                f"frame_stack={size} needs stacked frames, but {name} has shape {shape}, and the "
                f"length of its {'last' if last else 'first'} axis is not a multiple of {size}: wrap the environment "
                "in VecFrameStack or FrameStackObservation, set frame_stack_axis, or leave frame_stack out"
            )
        return Stacking(name, size, column, last)


class FrameStore:
    """
    Stores each frame once.

    :param stacking: how an observation is made of frames
    :param length: L
    :param n_envs: E
    :param make_ring: makes the rings that hold the frames
    """

    def __init__(self, stacking: Stacking, length: int, n_envs: int, make_ring: MakeRing) -> None:
        self.length = length
        self.count = 0  # rows ever written
        self.stacking = stacking
        self.n_envs = n_envs
        # S - 1 rows before the oldest, whose frames its stack needs, and one after the newest, for its next frame
        self.ring = make_ring(self.row_columns(stacking), length + stacking.size, n_envs, by_env=True)
        self.pool: Ring = make_ring({"frames": stacking.frame}, POOL_LENGTH, 1)
        self._pool_first = self._pool_end = 0
        self._pool_use: deque[tuple[int, int]] = deque()  # (row, first frame in the pool) of rows that use it
        # of the newest row: its links, and its next observation, to see whether the next row's observation continues it
        self._links = np.zeros((n_envs, 3), np.int64)
        self._next_obs = np.zeros((n_envs, *stacking.column.shape), stacking.column.dtype)
        self._next_words = stacking.words(self._next_obs)  # the same memory
        self._restored = False
        self._settled = False  # no episode began in the last rows, so the next row's links are the newest row's
        self._same = np.empty(self._next_words.shape, bool)
        # missing frames are looked up on the CPU only; on other devices the host would have to wait for the answer
        self._look_up = self.ring.device.type == "cpu"

    @staticmethod
    def row_columns(stacking: Stacking) -> dict[str, Column]:
        """:return: what a row keeps"""
        return {"frames": stacking.frame, "links": LINKS}

    @classmethod
    def nbytes_of(cls, stacking: Stacking, length: int, n_envs: int) -> int:
        """:return: bytes that it takes at least, before the pool has grown"""
        row = sum(column.nbytes for column in cls.row_columns(stacking).values())
        return (length + stacking.size) * n_envs * row + POOL_LENGTH * stacking.frame.nbytes

    def check(self, obs: np.ndarray, next_obs: np.ndarray, done: np.ndarray) -> np.ndarray:
        """
        :param obs: ``(E, *shape)`` in the stored type
        :param next_obs: ``(E, *shape)`` in the stored type
        :param done: ``(E,)`` whether an episode ends: SB3 undoes the normalisation of its last observation, which
            rounds floats, so only the newest frame of that observation is used
        :return: the observation's words
        :raises ValueError: if the next observation is not the observation shifted by one frame
        """
        words = self.stacking.words(obs)
        if self.stacking.size == 1:
            return words
        next_words = self.stacking.words(next_obs)
        same = np.equal(next_words[:, :, :-1], words[:, :, 1:], out=self._same[:, :, 1:])
        exempt = done.astype(bool) if self.stacking.column.dtype.kind == "f" and done.any() else False
        if not same.all() and not (same.all(axis=(1, 2, 3)) | exempt).all():
            name, axis = self.stacking.name, "last" if self.stacking.last else "first"
            raise ValueError(
                f"frame_stack={self.stacking.size} needs stacked frames, but next_{name} is not {name} shifted by one "
                f"frame along its {axis} axis: wrap the environment in VecFrameStack or FrameStackObservation, set "
                "frame_stack_axis, or leave frame_stack out"
            )
        return words

    def write(self, obs: np.ndarray, next_obs: np.ndarray, words: np.ndarray) -> None:
        """
        :param obs: ``(E, *shape)`` in the stored type
        :param next_obs: ``(E, *shape)`` in the stored type
        :param words: what ``check`` returned
        """
        row = self.count
        self._free_pool(row)
        if self._restored:
            self._recall_next_observation()
        same = np.equal(words, self._next_words, out=self._same)
        if not (self._settled and same.all()):
            self._link(row, self.stacking.split(obs), same)
        self.ring.write(row, (self.stacking.newest(obs), self._links))
        self.ring.write(row + 1, (self.stacking.newest(next_obs), 0))
        self._next_obs[:] = next_obs
        self.count += 1

    def _recall_next_observation(self) -> None:
        newest = th.full((self.n_envs,), (self.count - 1) % self.length, device=self.ring.device)
        entries = Entries(newest, th.arange(self.n_envs, device=self.ring.device), self.n_envs)
        self._next_obs[:] = self.pairs(entries, entries)[1].cpu().numpy()
        self._restored = False

    def _link(self, row: int, frames: np.ndarray, same: np.ndarray) -> None:
        """
        :param frames: ``(E, S, *frame)`` of the observation
        :param same: ``(E, ...)`` where its words equal those of the newest row's next observation
        """
        deepest = self.stacking.size - 1
        continues = same.all(axis=(1, 2, 3)) if row else np.zeros(self.n_envs, bool)
        depth = np.where(continues, np.minimum(self._links[:, DEPTH] + 1, deepest), 0)
        self._links[:] = 0
        self._links[:, DEPTH] = depth
        for env in np.flatnonzero(~continues):
            if row:
                next_frame = self.stacking.newest(self._next_obs[env : env + 1])
                self._links[env, CUT_OFF] = IN_POOL + self._put_into_pool(row, next_frame)
            older, first = frames[env, :-1], frames[env, -1:]
            if older.any():
                repeated = (older == first).all()
                self._links[env, BEFORE] = REPEATED if repeated else IN_POOL + self._put_into_pool(row, older[::-1])
        self._settled = bool(continues.all()) and bool((depth == deepest).all())

    # ---------------------------------------------------------------- the pool

    def _put_into_pool(self, row: int, frames: np.ndarray) -> int:
        start, end = self._pool_end, self._pool_end + len(frames)
        if end - self._pool_first > self.pool.length:
            length = max(2 * self.pool.length, end - self._pool_first)
            self._warn_of_short_episodes(length)
            self.pool = self.pool.grown(length, self._pool_first, self._pool_end)
        for index, frame in enumerate(frames):
            self.pool.write(start + index, [frame[None]])
        if not self._pool_use or self._pool_use[-1][0] != row:
            self._pool_use.append((row, start))
        self._pool_end = end
        return start

    def _warn_of_short_episodes(self, length: int) -> None:
        nbytes = length * self.stacking.frame.nbytes
        if nbytes > max(NOTABLE, self.ring.nbytes // 10):
            warnings.warn(
                f"episodes are so short that their last frames need {format_bytes(nbytes)} on top of the "
                f"{format_bytes(self.ring.nbytes)} for all other frames in the replay buffer",
                stacklevel=2,
            )

    def _free_pool(self, row: int) -> None:
        """Free the frames used only by rows that are overwritten once ``row`` and the next one are written."""
        oldest = row + 2 - self.ring.length
        while self._pool_use and self._pool_use[0][0] < oldest:
            self._pool_use.popleft()
        self._pool_first = self._pool_use[0][1] if self._pool_use else self._pool_end

    # ---------------------------------------------------------------- reading

    def pairs(self, entries: Entries, last: Entries) -> tuple[th.Tensor, th.Tensor]:
        """
        :param entries: those whose observations are returned
        :param last: those whose next observations are returned: the same, or later steps
        :return: ``(B, *shape)`` observations and next observations
        """
        rows, last_rows = self._row_numbers(entries), self._row_numbers(last)
        join, size = self.stacking.join, self.stacking.size
        if last is entries and self.stacking.column.dtype.kind != "f":
            # the two share frames and, here, memory; floats do not, since they may be used without being copied first
            frames = self._frames(rows, entries.envs, size, ahead=True)
            return join(frames[:, :-1]), join(frames[:, 1:])
        observations = self._frames(rows, entries.envs, size, ahead=False)
        next_observations = self._frames(last_rows, last.envs, size - 1, ahead=True)
        return join(observations), join(next_observations)

    def _row_numbers(self, entries: Entries) -> th.Tensor:
        """:return: numbers of the rows in these slots of the buffer"""
        newest = self.count - 1
        return newest - (newest - entries.rows) % self.length

    def _frames(self, rows: th.Tensor, envs: th.Tensor, size: int, ahead: bool) -> th.Tensor:
        """
        :param rows: ``(B,)`` row numbers
        :param envs: ``(B,)``
        :param size: how many of the observation's newest frames
        :param ahead: whether to add the next observation's newest frame
        :return: ``(B, size + ahead, *frame)`` oldest first
        """
        age = th.arange(size - 1, -1 - ahead, -1, device=rows.device)  # (size + ahead,)
        depth = self._gather_links(rows, envs, DEPTH)  # (B, 1)
        before = self._gather_links(rows - depth[:, 0], envs, BEFORE)
        index = self.ring.index(rows[:, None] - th.minimum(age, depth), envs[:, None])  # (B, size + ahead)
        frames = self.ring.gather("frames", index.flatten())
        missing = age > depth  # where so far the first frame is repeated
        if self.stacking.size > 1:
            frames = self._clear(frames, (missing & (before == ZEROS)).flatten())
        links = th.where(missing & (before >= IN_POOL), before + age - depth - 1, 0)
        if ahead:
            links[:, -1:] = self._gather_links(rows + 1, envs, CUT_OFF)
        frames = self._overlay(frames, links.flatten())
        return frames.view(len(rows), len(age), *self.stacking.frame.shape)

    def _gather_links(self, rows: th.Tensor, envs: th.Tensor, which: int) -> th.Tensor:
        """:return: ``(B, 1)``"""
        return self.ring.gather("links", self.ring.index(rows, envs))[:, which : which + 1]

    def _clear(self, frames: th.Tensor, mask: th.Tensor) -> th.Tensor:
        if self._look_up:
            where = mask.nonzero()[:, 0]
            return frames.index_fill_(0, where, 0) if len(where) else frames
        return frames.masked_fill_(self._over_frames(mask), 0)

    def _overlay(self, frames: th.Tensor, links: th.Tensor) -> th.Tensor:
        """
        :param frames: ``(N, *frame)``
        :param links: ``(N,)`` values from ``IN_POOL`` on name frames of the pool that are put there instead
        """
        places, replaced = (links - IN_POOL) % self.pool.length, links >= IN_POOL
        if self._look_up:
            where = replaced.nonzero()[:, 0]
            if len(where):
                frames[where] = self.pool.gather("frames", places[where])
            return frames
        return th.where(self._over_frames(replaced), self.pool.gather("frames", places), frames)

    def _over_frames(self, mask: th.Tensor) -> th.Tensor:
        return mask.reshape(-1, *[1] * len(self.stacking.frame.shape))

    # ---------------------------------------------------------------- files

    def live(self) -> dict[str, Live]:
        """:return: by name, the rows that are needed for what can be drawn"""
        end = self.count + 1 if self.count else 0
        return {
            "rows": Live(self.ring, max(0, end - self.ring.length), end),
            "pool": Live(self.pool, self._pool_first, self._pool_end),
        }

    def counters(self) -> dict[str, Any]:
        """:return: what ``restore`` needs besides the rows, of JSON types"""
        return {
            "count": self.count,
            "depth": self._links[:, DEPTH].tolist(),
            "pool_first": self._pool_first,
            "pool_end": self._pool_end,
            "pool_use": list(self._pool_use),
        }

    def restore(self, counters: dict[str, Any]) -> None:
        """Set the counters, so that ``live`` names the slots of saved rows. The caller copies the rows there."""
        self.count = counters["count"]
        self._pool_first, self._pool_end = counters["pool_first"], counters["pool_end"]
        self._pool_use = deque((row, start) for row, start in counters["pool_use"])
        self._links[:, DEPTH] = counters["depth"]
        self._restored = True
        self.pool = self.pool.allocated(max(POOL_LENGTH, self._pool_end - self._pool_first))
