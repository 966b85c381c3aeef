"""Reasons to stop before the work is done: signals, a deadline, a parent that is gone."""

import os
import signal
import time
from typing import Any

_SLICE_SECONDS = 0.05


class Interrupted(Exception):
    """The work was stopped, and is to be done again."""


class Interrupts:
    """
    Collects reasons to stop; :meth:`poll`, which is called where the work can be left cleanly, raises if there is one.

    :param deadline: seconds since the epoch, or None
    :param parent: id of the process without which this one has nothing to do, or None
    """

    def __init__(self, deadline: float | None = None, parent: int | None = None) -> None:
        self.deadline, self.parent = deadline, parent
        self.signals = 0
        """Number of signals received."""
        self._signal: int | None = None
        self._aborts = False

    def catch_signals(self, abort_at_second: bool = False) -> None:
        """
        From now on, treat SIGINT and SIGTERM only as reasons to stop.

        :param abort_at_second: whether a second signal ends the process at once
        """
        self._aborts = abort_at_second
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._caught)

    def _caught(self, number: int, _frame: Any) -> None:
        """Record a signal."""
        # must not take a lock: the code that this interrupts may hold it
        self._signal = number
        self.signals += 1
        if self._aborts and self.signals > 1:
            os._exit(128 + number)

    @property
    def reason(self) -> str | None:
        """Why the work should stop, or None if it should go on."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        if self.deadline is not None and time.time() >= self.deadline:
            return "deadline"
        if self.parent is not None and os.getppid() != self.parent:
            return "the process that started this one is gone"
        return None

    def poll(self) -> None:
        """
        Call this where the work can be left.

        :raises Interrupted: if there is a reason to stop
        """
        reason = self.reason
        if reason is not None:
            raise Interrupted(reason)

    def wait(self, seconds: float) -> None:
        """Sleep, but no longer than until the next signal."""
        end, before = time.monotonic() + seconds, self.signals
        while time.monotonic() < end and self.signals == before:
            time.sleep(_SLICE_SECONDS)  # a signal does not end a sleep
