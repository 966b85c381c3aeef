"""A replay buffer's file: tensors in the safetensors format, with the rest as JSON in its header.

Written and read a piece at a time, so that neither takes the memory of a second buffer. A path is written to by way of
a temporary file beside it, so that there is the old file or the new one, whenever the program ends.
"""

import contextlib
import io
import json
import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from safetensors import SafetensorError, safe_open

from sac_ext.buffers.ring import Column, Live

FORMAT = "sac_ext.DeviceReplayBuffer"
VERSION = 1
SUFFIX = ".safetensors"
PIECE_BYTES = 64 * 2**20

# https://github.com/huggingface/safetensors#format
DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}
LENGTH = struct.Struct("<Q")

Source = str | os.PathLike[str] | io.BufferedIOBase


def is_device_replay_buffer(source: Source) -> bool:
    """
    :param source: an existing path, or a file object, which is left where it was
    :return: whether it begins as such a file does, rather than as a pickle
    """
    if isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            return _starts_a_header(file.read(LENGTH.size + 1))
    where = source.tell()
    start = source.read(LENGTH.size + 1)
    source.seek(where)
    return _starts_a_header(start)


def _starts_a_header(start: bytes) -> bool:
    return len(start) == LENGTH.size + 1 and start[-1:] == b"{"


# ---------------------------------------------------------------- writing


def write(target: Source, parts: dict[str, Live], description: dict[str, Any]) -> None:
    """
    :param target: path, or a file object open for writing
    :param parts: the rows to write, by name
    :param description: what JSON has, to be given back by ``read_description``
    """
    if not isinstance(target, str | os.PathLike):
        _write(target, parts, description)
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            _write(file, parts, description)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write(file: Any, parts: dict[str, Live], description: dict[str, Any]) -> None:
    metadata = {"format": FORMAT, "version": str(VERSION), "description": json.dumps(description)}
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, live, column, _ in _columns(parts):
        rows = live.end - live.first
        size = rows * live.ring.width * column.nbytes
        header[name] = {
            "dtype": DTYPES[column.dtype.name],
            "shape": [rows, live.ring.width, *column.shape],
            "data_offsets": [offset, offset + size],
        }
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    file.write(LENGTH.pack(len(encoded)) + encoded)
    for _, live, column, key in _columns(parts):
        stored = live.ring.stored(key)
        for slots in _pieces(live, column):
            file.write(np.ascontiguousarray(stored[slots].cpu().numpy()).reshape(-1).view(np.uint8))


def _columns(parts: dict[str, Live]) -> Iterator[tuple[str, Live, Column, str]]:
    """:return: name in the file, rows, column and its name in the ring"""
    for part, live in parts.items():
        for key, column in live.ring.columns.items():
            yield f"{part}/{key}", live, column, key


def _pieces(live: Live, column: Column) -> Iterator[slice]:
    return live.pieces(max(1, PIECE_BYTES // max(1, live.ring.width * column.nbytes)))


# ---------------------------------------------------------------- reading


class Reader:
    """
    An open file.

    :raises ValueError: if it is no such file, or not a whole one
    """

    def __init__(self, path: str) -> None:
        try:
            file: Any = safe_open(path, framework="numpy")
            metadata = file.metadata() or {}
        except SafetensorError as error:
            raise ValueError(f"{path} is not a whole replay buffer of DeviceReplayBuffer.save: {error}") from error
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path} is a safetensors file, but not one of DeviceReplayBuffer.save")
        if int(metadata["version"]) > VERSION:
            raise ValueError(
                f"{path} has version {metadata['version']} of its format, but this version of sac_ext reads up to "
                f"{VERSION}: update sac_ext"
            )
        self.path = path
        self.description: dict[str, Any] = json.loads(metadata["description"])
        self._file = file
        self._names = set(file.keys())

    def _check(self, parts: dict[str, Live]) -> None:
        expected = {name: (live, column) for name, live, column, _ in _columns(parts)}
        if self._names != set(expected):
            raise ValueError(f"{self.path} has the tensors {sorted(self._names)}, expected {sorted(expected)}")
        for name, (live, column) in expected.items():
            stored = self._file.get_slice(name)
            shape, dtype = tuple(stored.get_shape()), stored.get_dtype()
            wanted = (live.end - live.first, live.ring.width, *column.shape)
            if shape != wanted or dtype != DTYPES[column.dtype.name]:
                raise ValueError(
                    f"{self.path} has {name} of shape {shape} and type {dtype}, expected {wanted} and "
                    f"{DTYPES[column.dtype.name]}"
                )

    def read(self, parts: dict[str, Live]) -> None:
        """
        :param parts: the rows to fill, by name
        :raises ValueError: if the file's tensors are not those of the parts; nothing has been read then
        """
        self._check(parts)
        for name, live, column, key in _columns(parts):
            _put_back(live, key, _pieces(live, column), self._file.get_slice(name))


def _put_back(live: Live, key: str, pieces: Iterator[slice], source: Any) -> None:
    """
    :param source: the rows in order; what can be sliced
    """
    stored, first = live.ring.stored(key), 0
    for slots in pieces:
        end = first + slots.stop - slots.start
        stored[slots] = th.from_numpy(np.array(source[first:end])).to(stored.device)
        first = end


@contextlib.contextmanager
def reader(source: Source) -> Iterator[Reader]:
    """
    :param source: path, or a file object open for reading
    """
    if isinstance(source, str | os.PathLike):
        yield Reader(os.fspath(source))
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "replay_buffer" + SUFFIX)
        with copy.open("wb") as file:
            shutil.copyfileobj(source, file)
        yield Reader(os.fspath(copy))


# ---------------------------------------------------------------- without a file


def to_arrays(parts: dict[str, Live]) -> dict[str, np.ndarray]:
    """:return: the rows of each column, by the names they have in a file; for pickle"""
    return {
        name: np.concatenate(
            [np.empty((0, live.ring.width, *column.shape), column.dtype)]
            + [live.ring.stored(key)[slots].cpu().numpy() for slots in live.pieces()]
        )
        for name, live, column, key in _columns(parts)
    }


def from_arrays(parts: dict[str, Live], arrays: dict[str, np.ndarray]) -> None:
    """
    :param parts: the rows to fill, by name
    :param arrays: what ``to_arrays`` gave
    """
    for name, live, _, key in _columns(parts):
        _put_back(live, key, live.pieces(), arrays[name])
