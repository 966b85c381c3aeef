"""Settings of torch for the process or a thread: changed temporarily, and then restored."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch as th
from torch.distributions import Distribution

PRECISIONS = ("highest", "high", "medium")
_SMALLEST = 5e-324  # the smallest float


@contextmanager
def matmul_precision(name: str | None) -> Iterator[None]:
    """
    :param name: see ``torch.set_float32_matmul_precision``; None leaves it as it is
    :raises ValueError: if torch's current setting could not be restored afterwards
    """
    if name is None:
        yield
        return
    before = current_matmul_precision()
    if before is None:
        raise ValueError(
            f"precision={name!r} cannot be set for gradient steps, because torch's own settings (such as "
            "torch.backends.cuda.matmul.fp32_precision) have values that correspond to no precision name and could not "
            "be restored: set either precision or these settings"
        )
    th.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        th.set_float32_matmul_precision(before)


def current_matmul_precision() -> str | None:
    """:return: the name, or None if the user has set it by torch's newer attributes, and the setting has no name"""
    try:
        return th.get_float32_matmul_precision()
    except RuntimeError:
        return None


@contextmanager
def flushed_denormals(flush: bool = True) -> Iterator[None]:
    """
    Flush denormal numbers (below 1e-38) to zero in this thread. Where gradients stay zero, as those of a dead ReLU,
    Adam's moving averages of them decay to such numbers and stay there, and some processors are much slower with them.

    :param flush: False to do nothing
    """
    if not flush or denormals_are_flushed():
        yield
        return
    th.set_flush_denormal(True)
    try:
        yield
    finally:
        th.set_flush_denormal(False)


def denormals_are_flushed() -> bool:
    """:return: whether denormal numbers are flushed to zero in this thread"""
    return _SMALLEST * 1.0 == 0.0


@contextmanager
def unvalidated_distributions() -> Iterator[None]:
    """Switch off torch's checks of a distribution's parameters, each of which waits for the device."""
    with same_validation():
        Distribution.set_default_validate_args(False)
        yield


@contextmanager
def same_validation() -> Iterator[None]:
    """Restore afterwards whether torch makes such checks (``torch.compile`` switches them off for good)."""
    before = Distribution._validate_args
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
