"""A replay buffer's file: tensors in the safetensors format, with the rest as JSON in its header.

It is written and read a piece at a time, so that neither takes the memory of a second buffer. A path is written by way
of a temporary file beside it, so that there is always the old file or the new one, whenever the program ends.
"""

import contextlib
import io
import json
import os
import shutil
import struct
import tempfile
import zlib
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
CHECKSUMS = "checksums"  # a last tensor with the CRC-32 of each of the others
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
    :param source: an existing path, or a file object, whose position is kept
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
    :param description: values of JSON types, which ``Reader.description`` gives back
    """
    if not isinstance(target, str | os.PathLike):
        _write(target, parts, description)
        return
    path = Path(target).resolve()  # follow a link, do not replace it
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
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
    text = json.dumps(description | {"tensors": [name for name, *_ in _columns(parts)]})
    metadata = {"format": FORMAT, "version": str(VERSION), "description": text, "checksum": _checksum(text.encode())}
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
    header[CHECKSUMS] = {
        "dtype": "U32",
        "shape": [len(header) - 1],
        "data_offsets": [offset, offset + 4 * (len(header) - 1)],
    }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    file.write(LENGTH.pack(len(encoded)) + encoded)
    checksums: list[int] = []
    for _, live, column, key in _columns(parts):
        stored = live.ring.stored(key)
        checksum = 0
        for slots in _pieces(live, column):
            piece = np.ascontiguousarray(stored[slots].cpu().numpy()).reshape(-1).view(np.uint8)
            checksum = zlib.crc32(piece.data, checksum)
            file.write(piece.data)
        checksums.append(checksum)
    file.write(np.array(checksums, "<u4").tobytes())


def _checksum(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"


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

    :param path: its name, for errors
    :param file: what ``safe_open`` returned
    :raises ValueError: if it was not written by ``write`` of this format version, or its description is damaged
    """

    def __init__(self, path: str, file: Any) -> None:
        metadata = file.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path} is a safetensors file, but was not written by DeviceReplayBuffer.save")
        if metadata.get("version") != str(VERSION):
            raise ValueError(
                f"{path} has format version {metadata.get('version')}, but this version of sac_ext reads version "
                f"{VERSION}: update sac_ext"
            )
        text = metadata.get("description", "")
        if metadata.get("checksum") != _checksum(text.encode()):
            raise ValueError(f"{path} is damaged: its description does not match its checksum")
        self.path = path
        self._file = file
        self.description: dict[str, Any] = json.loads(text)

    def read(self, parts: dict[str, Live]) -> None:
        """
        :param parts: the rows to fill, by name
        :raises ValueError: if the file's tensors are not those of the parts (then nothing has been read), or damaged
        """
        names = self.description["tensors"]
        checksums = dict(zip(names, self._tensor(CHECKSUMS)[:].tolist(), strict=True))
        self._check(parts, set(names))
        for name, live, column, key in _columns(parts):
            checksum = _put_back(live, key, _pieces(live, column), self._tensor(name))
            if checksum != checksums[name]:
                raise ValueError(f"{self.path} is damaged: the contents of {name} do not match their checksum")

    def _tensor(self, name: str) -> Any:
        """:return: a tensor in the file, which can be sliced"""
        try:
            return self._file.get_slice(name)
        except SafetensorError as error:
            raise ValueError(f"{self.path} is damaged: {error}") from error

    def _check(self, parts: dict[str, Live], names: set[str]) -> None:
        expected = {name: (live, column) for name, live, column, _ in _columns(parts)}
        unread = {"priorities/weights", "transitions/entropies"}  # if the buffer lacks them
        if not expected.keys() <= names or names - expected.keys() - unread:
            raise ValueError(f"{self.path} has the tensors {sorted(names)}, expected {sorted(expected)}")
        for name, (live, column) in expected.items():
            stored = self._tensor(name)
            shape, dtype = tuple(stored.get_shape()), stored.get_dtype()
            wanted = (live.end - live.first, live.ring.width, *column.shape)
            if shape != wanted or dtype != DTYPES[column.dtype.name]:
                raise ValueError(
                    f"{self.path} has {name} of shape {shape} and type {dtype}, expected {wanted} and "
                    f"{DTYPES[column.dtype.name]}"
                )


def _put_back(live: Live, key: str, pieces: Iterator[slice], source: Any) -> int:
    """
    :param source: the rows in order, in a form that can be sliced
    :return: their checksum
    """
    stored, first, checksum = live.ring.stored(key), 0, 0
    for slots in pieces:
        end = first + slots.stop - slots.start
        piece = np.array(source[first:end])
        checksum = zlib.crc32(piece.reshape(-1).view(np.uint8).data, checksum)
        stored[slots] = th.from_numpy(piece).to(stored.device)
        first = end
    return checksum


@contextlib.contextmanager
def reader(source: Source) -> Iterator[Reader]:
    """
    :param source: path, or a file object open for reading
    :raises ValueError: if it is not such a file; and within the context, if what is read does not match
    """
    if not isinstance(source, str | os.PathLike):
        with tempfile.TemporaryDirectory() as folder:  # safetensors reads from paths only
            copy = Path(folder, "replay_buffer" + SUFFIX)
            with copy.open("wb") as file:
                shutil.copyfileobj(source, file)
            with reader(copy) as of_copy:
                yield of_copy
        return
    path = os.fspath(source)
    try:
        opened = safe_open(path, framework="numpy")
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a complete replay buffer written by DeviceReplayBuffer.save: {error}"
        ) from error
    with opened as file:
        yield Reader(path, file)


# ---------------------------------------------------------------- without a file


def to_arrays(parts: dict[str, Live]) -> dict[str, np.ndarray]:
    """:return: the rows of each column, by their names in a file; for pickle"""
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
    :param arrays: what ``to_arrays`` returned
    """
    for name, live, _, key in _columns(parts):
        _put_back(live, key, live.pieces(), arrays[name])
