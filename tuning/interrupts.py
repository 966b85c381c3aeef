"""Reasons to stop before the work is done: signals, a deadline, a parent that is gone."""

import os
import signal
import threading
import time
from typing import Any


class Interrupted(Exception):
    """The work was stopped, and is to be done again."""


class Interrupts:
    """
    Collects reasons to stop; :meth:`poll` raises when there is one, where the work can be left cleanly.

    :param deadline: seconds since the epoch, or None
    :param parent: process without which this one has nothing to do, or None
    """

    def __init__(self, deadline: float | None = None, parent: int | None = None) -> None:
        self.deadline, self.parent = deadline, parent
        self.signals = 0
        """How many came."""
        self._signal: int | None = None
        self._wakes = threading.Event()

    def catch_signals(self) -> None:
        """From now on SIGINT and SIGTERM are reasons to stop, and no more than that."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._caught)

    def _caught(self, number: int, _frame: Any) -> None:
        self._signal = number
        self.signals += 1
        self._wakes.set()

    @property
    def reason(self) -> str | None:
        """Why to stop, or None."""
        if self._signal is not None:
            return signal.Signals(self._signal).name
        if self.deadline is not None and time.time() >= self.deadline:
            return "deadline"
        if self.parent is not None and os.getppid() != self.parent:
            return "the process that started this one is gone"
        return None

    def poll(self) -> None:
        """:raises Interrupted: if there is a reason to stop"""
        reason = self.reason
        if reason is not None:
            raise Interrupted(reason)

    def wait(self, seconds: float) -> None:
        """Sleep, or less when a signal comes."""
        self._wakes.wait(seconds)
        self._wakes.clear()
