"""Settings of torch that hold for the whole process: changed for a while, and put back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch as th
from torch.distributions import Distribution

PRECISIONS = ("highest", "high", "medium")


@contextmanager
def matmul_precision(name: str | None) -> Iterator[None]:
    """
    :param name: see ``torch.set_float32_matmul_precision``; None leaves it as it is
    """
    before = th.get_float32_matmul_precision()
    if name is None or name == before:
        yield
        return
    th.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        th.set_float32_matmul_precision(before)


@contextmanager
def unvalidated_distributions() -> Iterator[None]:
    """Without torch's checks of a distribution's parameters, each of which waits for the device."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
