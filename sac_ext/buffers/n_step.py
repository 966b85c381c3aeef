"""n-step returns: which steps belong to a return, and their sums. Pure functions of tensors.

``B`` entries asked for, ``n`` steps, ``L`` rows in the buffer. Sums that end with an episode are those of SB3's
``NStepReplayBuffer``.
"""

import numpy as np
import torch as th


def window(rows: th.Tensor, n_steps: int, length: int) -> th.Tensor:
    """
    :param rows: ``(B,)`` slots
    :return: ``(B, n)`` slots of the ``n`` steps that begin there
    """
    return (rows[:, None] + th.arange(n_steps, device=rows.device)) % length


def last_step(ended: th.Tensor) -> th.Tensor:
    """
    :param ended: ``(B, n)`` whether nothing follows a step: its episode terminated or was truncated, or it is the
        newest step
    :return: ``(B,)`` the first such step, or the last one if there is none
    """
    ended = ended.clone()
    ended[:, -1] = True
    return ended.to(th.uint8).argmax(dim=1)


def powers(gamma: float, first: int, end: int, device: th.device) -> th.Tensor:
    """:return: ``(end - first,)`` powers from ``gamma**first`` on, in numpy's single precision, as in SB3"""
    return th.from_numpy(gamma ** np.arange(first, end, dtype=np.float32)).to(device)


def discounted_sum(values: th.Tensor, last: th.Tensor, gamma: float, first: int = 0) -> th.Tensor:
    """
    ``sum_{k=first}^{last} gamma^k values_k``.

    :param values: ``(B, n)``
    :param last: ``(B,)``
    :return: ``(B, 1)``
    """
    steps = th.arange(values.shape[1], device=values.device)
    mask = (steps >= first) & (steps <= last[:, None])
    terms = values * powers(gamma, 0, values.shape[1], values.device) * mask
    if terms.device.type == "cpu":  # numpy's order of summation, which is SB3's
        return th.from_numpy(terms.numpy().sum(axis=1, keepdims=True))
    return terms.sum(dim=1, keepdim=True)
