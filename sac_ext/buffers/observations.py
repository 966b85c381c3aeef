"""How observations are kept: in pairs with the next ones, as SB3 does, or each frame once.

``B`` entries asked for, ``E`` environments, ``S`` frames in a stack, ``L`` rows in the buffer.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch as th

from sac_ext.buffers.ring import Column, MakeRing, Ring


@dataclass
class Entries:
    """
    Which entries of a buffer.

    :param rows: ``(B,)`` slots, 0 to L - 1
    :param envs: ``(B,)`` environments, 0 to E - 1
    :param n_envs: E
    """

    rows: th.Tensor
    envs: th.Tensor
    n_envs: int

    @cached_property
    def flat(self) -> th.Tensor:
        """``(B,)`` row and environment as one index."""
        return self.rows if self.n_envs == 1 else self.rows * self.n_envs + self.envs


@dataclass
class Live:
    """Rows of a ring that are in use, from row number ``first`` up to ``end``."""

    ring: Ring
    first: int
    end: int

    def pieces(self, rows: int | None = None) -> Iterator[slice]:
        """
        :param rows: how many at most in a piece; None for any number
        :return: slots, in the order of the rows
        """
        row = self.first
        while row < self.end:
            slot = row % self.ring.length
            size = min(rows or self.end, self.end - row, self.ring.length - slot)
            yield slice(slot, slot + size)
            row += size


class ObservationStore(ABC):
    """
    One observation space's share of a replay buffer: written row by row, read at any entries.

    :param length: L
    """

    ring: Ring

    def __init__(self, length: int) -> None:
        self.length = length
        self.count = 0  # rows ever written

    def check(self, name: str, obs: np.ndarray, next_obs: np.ndarray) -> None:  # noqa: B027  # most take anything
        """
        :param name: for the error
        :raises ValueError: if they cannot be kept this way; nothing has been written then
        """

    @abstractmethod
    def write(self, obs: np.ndarray, next_obs: np.ndarray) -> None:
        """
        :param obs: ``(E, *shape)``
        :param next_obs: ``(E, *shape)``
        """

    @abstractmethod
    def observations(self, entries: Entries) -> th.Tensor:
        """:return: ``(B, *shape)``"""

    @abstractmethod
    def next_observations(self, entries: Entries) -> th.Tensor:
        """:return: ``(B, *shape)``"""

    @abstractmethod
    def live(self) -> Iterator[tuple[str, Live]]:
        """:return: by name, the rows that have to be kept for what can be drawn"""

    def counters(self) -> dict[str, Any]:
        """:return: what ``restore`` needs beside the rows, as JSON has it"""
        return {"count": self.count}

    def restore(self, counters: dict[str, Any]) -> None:
        """Make ``live`` say what it said where the counters come from, for the caller to put the rows back there."""
        self.count = counters["count"]


class PairStore(ObservationStore):
    """Observation and next observation of every transition, as in SB3's ``ReplayBuffer``."""

    def __init__(self, column: Column, length: int, n_envs: int, make_ring: MakeRing) -> None:
        super().__init__(length)
        self.ring = make_ring({"observations": column, "next_observations": column}, length, n_envs)

    @staticmethod
    def nbytes_of(column: Column, length: int, n_envs: int) -> int:
        """:return: what it takes"""
        return 2 * column.nbytes * length * n_envs

    def write(self, obs: np.ndarray, next_obs: np.ndarray) -> None:
        self.ring.write(self.count, {"observations": obs, "next_observations": next_obs})
        self.count += 1

    def observations(self, entries: Entries) -> th.Tensor:
        return self.ring.gather("observations", entries.flat)

    def next_observations(self, entries: Entries) -> th.Tensor:
        return self.ring.gather("next_observations", entries.flat)

    def live(self) -> Iterator[tuple[str, Live]]:
        yield "pairs", Live(self.ring, max(0, self.count - self.length), self.count)
