"""Which process works on something, and whether it is still running."""

import os
import socket
from typing import Any

import psutil

_STEP_OF_THE_CLOCK = 10.0  # seconds


def identity(pid: int | None = None) -> dict[str, Any]:
    """
    Describe a process so that it can be found again, or be known to have ended.

    :param pid: id of a process on this host; None for this one
    :return: what distinguishes it from all others, including later ones with the same id
    """
    process = psutil.Process(os.getpid() if pid is None else pid)
    return {"host": socket.gethostname(), "pid": process.pid, "started": process.create_time()}


def is_gone(process: dict[str, Any] | None) -> bool:
    """
    Find out whether a process has certainly ended.

    :param process: what :func:`identity` returned for it
    :return: whether it has certainly ended: it was on this host, and is no longer running
    """
    if process is None or process["host"] != socket.gethostname():
        return False
    try:
        found = psutil.Process(process["pid"])
        # create_time counts from the system's start, so a step of the system's clock changes it
        other = abs(found.create_time() - process["started"]) > _STEP_OF_THE_CLOCK
        return bool(other or found.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
