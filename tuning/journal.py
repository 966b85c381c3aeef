"""Journal files that survive kill -9: Optuna's journal storage with locks that end with their process, and repair."""

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import BaseJournalFileLock  # not exported, but the base class of locks

from .processes import identity

_FOREIGN_GRACE_PERIOD = 5  # seconds
_BLOCK = 65536


class JournalLock(BaseJournalFileLock):
    """
    Lets one process at a time write to a journal.

    The outer lock is the operating system's, which ends with its process, so a killed writer does not block others. The
    inner lock is Optuna's own, a symbolic link, for programs such as the dashboard. If a killed process leaves the link
    behind, it is removed after five seconds instead of thirty.

    :param path: path of the journal
    """

    def __init__(self, path: str) -> None:
        path = os.path.abspath(path)  # with a relative path the symbolic link would point nowhere
        self._path = path
        self._outer = FileLock(path + ".writer")
        self._inner = JournalFileSymlinkLock(path, _FOREIGN_GRACE_PERIOD)

    def acquire(self) -> bool:
        """Wait for the lock, and cut off an incomplete line of a killed writer, to which the next would be appended."""
        self._outer.acquire()
        try:
            self._inner.acquire()
            _cut_torn_tail(Path(self._path))
        except BaseException:
            self._outer.release()
            raise
        return True

    def release(self) -> None:
        """Let the next process write."""
        try:
            self._inner.release()
        finally:
            self._outer.release()


def open_backend(path: Path) -> JournalFileBackend:
    """
    Open a journal with locks that end with their process.

    :param path: path of a journal, which need not exist
    :return: backend for ``optuna.storages.JournalStorage``
    """
    return JournalFileBackend(str(path), JournalLock(str(path)))


def repair_journal(path: Path) -> Path | None:
    """
    Remove the lines that are not valid entries, such as those appended to what a killed writer left. A copy of the
    original file is kept beside it. Call this only while no other process uses the journal.

    :param path: path of the journal
    :return: path of the copy, or None if nothing was broken
    """
    lock = JournalLock(str(path))
    lock.acquire()
    try:
        content = path.read_bytes()
        lines = content.splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n") and _is_entry(line)]
        if len(whole) == len(lines):
            return None
        number = 1
        while path.with_suffix(f".broken{number}").exists():
            number += 1
        copy = path.with_suffix(f".broken{number}")
        copy.write_bytes(content)
        repaired = path.with_suffix(".repaired")
        repaired.write_bytes(b"".join(whole))
        repaired.replace(path)
        return copy
    finally:
        lock.release()


def _cut_torn_tail(path: Path) -> None:
    """Cut off what follows the last complete line, and append it to a file beside the journal."""
    with path.open("rb+") as file:
        end = file.seek(0, 2)
        if end == 0:
            return
        file.seek(end - 1)
        if file.read(1) == b"\n":
            return
        position, tail = end, b""
        while position > 0 and b"\n" not in tail:
            position = max(0, position - _BLOCK)
            file.seek(position)
            tail = file.read(end - position)
        kept = position + tail.rfind(b"\n") + 1
        with path.with_suffix(".torn").open("ab") as backup:
            backup.write(tail[kept - position :] + b"\n")
        file.truncate(kept)


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


class Owner:
    """
    Lets only one ``tune`` at a time use a journal; other processes join with ``worker``.

    :param path: path of the journal
    """

    def __init__(self, path: Path) -> None:
        self._lock = FileLock(f"{path}.owner", timeout=0)
        self._note = Path(f"{path}.owner.json")
        self._path = path

    def take(self, study_name: str) -> None:
        """
        Become the owner, and leave a note that says who it is.

        :param study_name: name of the study, for the note
        :raises ValueError: if another process owns the journal, or no file can be written there
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            other: dict[str, Any] = {}
            if self._note.exists():
                other = json.loads(self._note.read_text() or "{}")
            raise ValueError(
                f"{self._path} is in use: process {other.get('pid', '?')} runs study "
                f"{other.get('study', '?')!r} or repairs it. Wait until it ends, add a process to a running study with "
                "`softac-tune worker`, or choose another --study or --storage"
            ) from None
        except OSError as error:
            raise ValueError(f"Cannot create or lock a journal at {self._path}: {error}") from error
        self._note.write_text(json.dumps(identity() | {"study": study_name}))

    def release(self) -> None:
        """Let another ``tune`` become the owner."""
        self._note.unlink(missing_ok=True)
        self._lock.release()
