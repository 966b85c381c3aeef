"""Which process works on something, and whether it still does."""

import os
import socket
from typing import Any

import psutil

_STEP_OF_THE_CLOCK = 10.0  # seconds


def identity(pid: int | None = None) -> dict[str, Any]:
    """
    Describe a process so that it can be found again, or be known to have ended.

    :param pid: of a process on this host; None for this one
    :return: what tells it from every other, later ones with the same number too
    """
    process = psutil.Process(os.getpid() if pid is None else pid)
    return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}


def is_gone(process: dict[str, Any] | None) -> bool:
    """
    Say whether a process has ended for certain.

    :param process: what :func:`identity` gave there
    :return: whether it has ended for certain: it was on this host, and runs no more
    """
    if process is None or process["host"] != socket.gethostname():
        return False
    try:
        found = psutil.Process(process["pid"])
        # which is counted from the system's start, so a step of its clock moves it
        other = abs(found.create_time() - process["started"]) > _STEP_OF_THE_CLOCK
        return bool(other or found.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
