"""How much memory there is, how much is asked for, and where that fits."""

import re
import warnings
from typing import Any

import psutil
import torch as th

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}

CUDA_RESERVE = 0.1  # share of the free memory left for networks, optimizers and batches

SMALLER = "Choose a smaller buffer_size, or store each frame once (frame_stack, optimize_memory_usage)"


def parse_bytes(name: str, value: Any) -> int:
    """
    :param name: of the argument, for the error
    :param value: a number of bytes, or a string such as ``"8GB"`` or ``"512 MiB"``
    :raises ValueError: if it is neither, or not positive
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*([KMGT]?i?B)?\s*", str(value), re.IGNORECASE)
    if isinstance(value, bool) or match is None or float(match[1]) <= 0:
        raise ValueError(f"{name} must be a positive number of bytes or a string such as '8GB', got {value!r}")
    return int(float(match[1]) * UNITS[(match[2] or "B").upper()])


def format_bytes(number: float) -> str:
    """In powers of ten, as SB3 prints them."""
    unit = next(unit for unit in ("TB", "GB", "MB", "KB", "B") if number >= UNITS[unit] or unit == "B")
    return f"{number / UNITS[unit]:.2f} {unit}" if unit != "B" else f"{number:.0f} B"


def available_bytes(device: th.device) -> int:
    """:return: how many bytes can be allocated there now"""
    if device.type == "cuda":
        free, _ = th.cuda.mem_get_info(device)
        return int(free * (1 - CUDA_RESERVE))
    return int(psutil.virtual_memory().available)


def exists(device: th.device) -> bool:
    """:return: whether torch can use the device"""
    try:
        th.empty(1, device=device)
    except (RuntimeError, AssertionError):  # the latter where torch was built without that kind of device
        return False
    return True


def parse_device(name: str, value: str) -> th.device:
    """
    :param name: of the argument, for the error
    :raises ValueError: if it is not a device that torch can use
    """
    try:
        device = th.device(value)
    except RuntimeError as error:
        raise ValueError(f"{name}={value!r} must be 'auto' or a torch device: {error}") from error
    if not exists(device):
        raise ValueError(f"{name}={value!r}, but torch sees no such device: choose 'auto' or 'cpu'")
    return device


def existing_or_auto(storage_device: str) -> str:
    """
    :param storage_device: of a buffer that was saved, maybe on another machine
    :return: the same or, if there is no such device, ``"auto"``, with a warning
    """
    try:
        if storage_device == "auto" or exists(th.device(storage_device)):
            return storage_device
    except RuntimeError:
        return storage_device  # not a device at all, which is refused elsewhere
    warnings.warn(
        f"storage_device={storage_device!r}, but torch sees no such device here: using 'auto' instead", stacklevel=2
    )
    return "auto"


def place(nbytes: int, requested: str, device: th.device, limit: int | None) -> th.device:
    """
    Decide where a replay buffer is stored.

    :param nbytes: bytes it takes when it is full
    :param requested: ``"auto"`` for the training device if it fits there, otherwise the host; or a device
    :param device: the training device
    :param limit: bytes it may take there at most, or None for what is free
    :raises ValueError: if it does not fit where it has to go, or there is no such device
    """
    auto = requested == "auto"
    target = device if auto else parse_device("storage_device", requested)
    needed, host = format_bytes(nbytes), th.device("cpu")
    if target.type == "cpu":
        target = host  # not cpu:0
    if limit is not None and nbytes > limit:
        message = f"the replay buffer needs {needed}, more than memory_limit={format_bytes(limit)}"
    elif nbytes > (available := available_bytes(target)):
        message = (
            f"the replay buffer needs {needed} when it is full, but {format_bytes(available)} are free on {target}"
        )
        if target == host:  # which allocates memory as the buffer fills up
            warnings.warn(f"{message}. {SMALLER}", stacklevel=2)
            return target
    else:
        return target
    if auto and target != host and nbytes <= available_bytes(host):
        warnings.warn(f"{message}: it is stored on the host instead, which is slower. {SMALLER}", stacklevel=2)
        return host
    raise ValueError(f"{message}. {SMALLER}")
