"""Draws of rows and environments: from numpy's global generator on the CPU, elsewhere from the device's own."""

import numpy as np
import torch as th


def uniform(
    n: int, batch_size: int, low: int, high: int, n_envs: int, device: th.device
) -> tuple[th.Tensor, th.Tensor]:
    """
    On the CPU, numpy's numbers in the order in which SB3 asks for them, batch by batch: rows, then environments.

    :param n: how many batches
    :param batch_size: B
    :param low: first row
    :param high: end of the rows, exclusive
    :param n_envs: E
    :return: ``(n * B,)`` rows and environments
    """
    size = n * batch_size
    if n_envs == 1:  # numpy draws no number for these zeros
        return integers(low, high, size, device), th.zeros(size, dtype=th.int64, device=device)
    if n == 1 or device.type != "cpu":
        return integers(low, high, size, device), integers(0, n_envs, size, device)
    batches = [
        (np.random.randint(low, high, size=batch_size), np.random.randint(0, n_envs, size=batch_size)) for _ in range(n)
    ]
    rows, envs = (np.concatenate(drawn) for drawn in zip(*batches, strict=True))
    return th.from_numpy(rows), th.from_numpy(envs)


def integers(low: int, high: int, size: int, device: th.device) -> th.Tensor:
    """
    :return: ``(size,)``
    """
    if device.type == "cpu":
        return th.from_numpy(np.random.randint(low, high, size=size))
    return th.randint(low, high, (size,), device=device)


def shares(n: int, batch_size: int, device: th.device) -> th.Tensor:
    """
    :return: ``(n, B)`` one random number from each of ``B`` equal parts of 0 to 1, in double precision
    """
    if device.type == "cpu":
        drawn = th.from_numpy(np.random.random_sample((n, batch_size)))
    else:
        drawn = th.rand((n, batch_size), dtype=th.float64, device=device)
    return (th.arange(batch_size, device=device) + drawn) / batch_size
