"""Rows of named columns on one device, written in order from the host and overwritten from the start when full.

``L`` length in rows, ``E`` entries per row (one per environment), ``N`` entries asked for. Row numbers count all rows
that were ever written; row ``i`` is in slot ``i % L``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import numpy as np
import torch as th

ALIGNMENT = 64  # in bytes, of gathered arrays
HUGE = 2**20  # from this many bytes on, memory in huge pages pays off

STAGE_BYTES = 16 * 2**20
STAGE_ROWS = 1024


@dataclass(frozen=True)
class Column:
    """
    :param shape: of one entry
    :param dtype: numpy's; torch must have it too
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of one entry."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def torch_dtype(self) -> th.dtype:
        return th.from_numpy(np.empty(0, self.dtype)).dtype


class Entries:
    """
    Which entries of a buffer.

    :param rows: ``(B,)`` slots, 0 to L - 1
    :param envs: ``(B,)`` environments, 0 to E - 1
    :param n_envs: E
    """

    def __init__(self, rows: th.Tensor, envs: th.Tensor, n_envs: int) -> None:
        self.rows, self.envs = rows, envs
        self.flat = rows if n_envs == 1 else rows * n_envs + envs  # (B,) both as one index


Columns = Mapping[str, Column]


class Ring(ABC):
    """
    :param columns: by name
    :param length: L
    :param width: E
    :param by_env: entries of one environment lie side by side in memory, for gathering several in a row
    """

    device: th.device

    def __init__(self, columns: Columns, length: int, width: int, by_env: bool) -> None:
        self.columns = dict(columns)
        self.length = length
        self.width = width
        self.by_env = by_env

    def index(self, rows: th.Tensor, envs: th.Tensor) -> th.Tensor:
        """
        :param rows: row numbers
        :param envs: positions within the rows
        :return: what ``gather`` takes
        """
        slots = rows % self.length
        return envs * self.length + slots if self.by_env else slots * self.width + envs

    @abstractmethod
    def write(self, row: int, values: Sequence[Any]) -> None:
        """
        :param row: the row after the last one written, or the last one again
        :param values: ``(E, *shape)``, or what broadcasts to that, for each column in their order
        """

    @abstractmethod
    def stored(self, name: str) -> th.Tensor:
        """:return: ``(L, E, *shape)`` the column itself, not a copy"""

    @abstractmethod
    def gather(self, name: str, index: th.Tensor) -> th.Tensor:
        """
        :param index: ``(N,)`` of entries, as ``index`` gives it: without ``by_env``, slot * E + position within the row
        :return: ``(N, *shape)`` a copy, on the ring's device
        """

    @abstractmethod
    def allocated(self, length: int) -> "Ring":
        """:return: an empty ring of another length, otherwise like this one"""

    @property
    def nbytes(self) -> int:
        return self.length * self.width * sum(column.nbytes for column in self.columns.values())

    def grown(self, length: int, first: int, end: int) -> "Ring":
        """:return: a longer ring with the rows from ``first`` up to ``end``, and the same row numbers"""
        longer = self.allocated(length)
        rows = th.arange(first, end, device=self.device)
        for name in self.columns:
            longer.stored(name)[rows % length] = self.stored(name)[rows % self.length]
        return longer


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """
    An array in numpy's memory, which comes in huge pages and so is faster to allocate than torch's. Its address is a
    multiple of 64, as torch's are: the last bit of a product may depend on that.
    """
    size = prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


class MakeRing(Protocol):
    """Makes rings on a given device."""

    def __call__(self, columns: Columns, length: int, width: int, by_env: bool = False) -> Ring:
        """The parameters are those of ``Ring``."""


class HostRing(Ring):
    """
    In the host's memory, which the system allocates as it is written to.

    :param pin: gather into page-locked memory, from which copies to a CUDA device run asynchronously
    """

    device = th.device("cpu")

    def __init__(self, columns: Columns, length: int, width: int, by_env: bool = False, pin: bool = False) -> None:
        super().__init__(columns, length, width, by_env)
        self.pin = pin
        # numpy's zeros take no memory until they are written to; torch's do
        self._entries = {
            name: np.zeros((length * width, *column.shape), column.dtype) for name, column in columns.items()
        }
        lengths = (width, length) if by_env else (length, width)
        arrays = {name: entries.reshape(*lengths, *entries.shape[1:]) for name, entries in self._entries.items()}
        self.arrays = {name: array.swapaxes(0, 1) if by_env else array for name, array in arrays.items()}
        self._arrays_in_order = list(self.arrays.values())
        self._torch_dtypes = {name: column.torch_dtype for name, column in columns.items()}

    def write(self, row: int, values: Sequence[Any]) -> None:
        slot = row % self.length
        for array, value in zip(self._arrays_in_order, values):  # noqa: B905  # strict costs a tenth of the time
            array[slot] = value

    def stored(self, name: str) -> th.Tensor:
        return th.from_numpy(self.arrays[name])

    def gather(self, name: str, index: th.Tensor) -> th.Tensor:
        entries, at = self._entries[name], index.numpy()
        shape = at.shape + entries.shape[1:]
        if self.pin or prod(shape) * entries.itemsize < HUGE:
            out = th.empty(shape, dtype=self._torch_dtypes[name], pin_memory=self.pin)
        else:
            out = th.from_numpy(aligned_empty(shape, entries.dtype))
        # twice as fast as torch's index_select; mode="clip" because the default would buffer the output
        entries.take(at, 0, out.numpy(), "clip")
        return out

    def allocated(self, length: int) -> "HostRing":
        return HostRing(self.columns, length, self.width, self.by_env, self.pin)


class DeviceRing(Ring):
    """
    In a device's memory. Rows are collected in a stage on the host, page-locked where the device is CUDA, and copied
    together when the stage is full or the ring is read.

    :param device: any that torch supports
    """

    def __init__(self, columns: Columns, length: int, width: int, by_env: bool, device: th.device) -> None:
        super().__init__(columns, length, width, by_env)
        self.device = device
        self._entries = {
            name: th.zeros((length * width, *column.shape), dtype=column.torch_dtype, device=device)
            for name, column in columns.items()
        }
        lengths = (width, length) if by_env else (length, width)
        tensors = {name: entries.view(*lengths, *entries.shape[1:]) for name, entries in self._entries.items()}
        self._tensors = {name: tensor.transpose(0, 1) if by_env else tensor for name, tensor in tensors.items()}
        row_bytes = max(1, self.nbytes // length)
        self._stage_rows = max(1, min(length, STAGE_ROWS, STAGE_BYTES // row_bytes))
        pin = device.type == "cuda"
        self._stage = {
            name: th.empty((self._stage_rows, width, *column.shape), dtype=column.torch_dtype, pin_memory=pin)
            for name, column in columns.items()
        }
        self._stage_arrays = [tensor.numpy() for tensor in self._stage.values()]
        self._copied = th.cuda.Event() if pin else None  # type: ignore[no-untyped-call]
        self._first = self._end = 0  # rows in the stage

    def write(self, row: int, values: Sequence[Any]) -> None:
        if self._end == self._first or row - self._first >= self._stage_rows:
            self._flush()
            self._first = row
            if self._copied is not None:
                self._copied.synchronize()  # the stage may still be read by the last copy
        for array, value in zip(self._stage_arrays, values, strict=True):
            array[row - self._first] = value
        self._end = row + 1

    def _flush(self) -> None:
        """Copy the stage to the device."""
        taken = 0
        while self._first + taken < self._end:  # twice if the rows go beyond the ring's end
            slot = (self._first + taken) % self.length
            rows = min(self._end - self._first - taken, self.length - slot)
            for name, tensor in self._tensors.items():
                tensor[slot : slot + rows].copy_(
                    self._stage[name][taken : taken + rows], non_blocking=self._copied is not None
                )
            taken += rows
        if taken and self._copied is not None:
            self._copied.record(th.cuda.current_stream(self.device))
        self._first = self._end

    def stored(self, name: str) -> th.Tensor:
        self._flush()
        return self._tensors[name]

    def gather(self, name: str, index: th.Tensor) -> th.Tensor:
        self._flush()
        return self._entries[name].index_select(0, index)

    def allocated(self, length: int) -> "DeviceRing":
        return DeviceRing(self.columns, length, self.width, self.by_env, self.device)


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
