"""Prioritised experience replay (Schaul et al. 2016, arXiv:1511.05952), the proportional variant."""

import warnings
from typing import Any

import numpy as np
import torch as th

from sac_ext import arguments
from sac_ext.buffers import draws
from sac_ext.buffers.ring import Column, HostRing, Live
from sac_ext.buffers.sum_tree import SumTree

EPSILON = 1e-6  # so that every transition may be drawn again

PATIENCE = 100  # draws without an update of the priorities, before a warning


def parse_beta(value: Any) -> tuple[float, float]:
    """
    :param value: a number, or ``(start, end)`` for a linear change over training
    :return: start and end
    :raises ValueError: if it is neither, or outside 0 to 1
    """
    pair = value if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2:
        raise ValueError(f"beta must be a number or [start, end], got {value!r}")
    start, end = (arguments.number_between("beta, a number or [start, end],", each, low=0, high=1) for each in pair)
    return start, end


class Priorities:
    """
    How often each transition is drawn, and the weight of its loss that corrects for it.

    A transition's priority is the absolute TD error at its last draw, plus 1e-6, or, before its first draw, the
    greatest priority so far, which is 1 at first. It is drawn with probability ``P(i) = p_i^alpha / sum_k p_k^alpha``
    (eq. 1), and its loss has the weight ``P(i)^-beta``, divided by the greatest weight in the batch (section 3.4; the
    number of transitions cancels out).

    :param length: L, rows in the buffer
    :param n_envs: E
    :param alpha: 0 for uniform draws, 1 for draws in proportion to the error
    :param device: where the transitions are
    """

    def __init__(self, length: int, n_envs: int, alpha: float, device: th.device) -> None:
        self.length, self.n_envs = length, n_envs
        self.alpha = alpha
        self.count = 0  # rows that were given a priority
        self.tree = SumTree(length * n_envs, device)
        self.greatest = th.ones((), dtype=th.float64, device=device)  # of all priorities so far, to the power of alpha
        self._unanswered = 0  # draws since the last update

    @staticmethod
    def nbytes_of(size: int) -> int:
        """:return: bytes for so many transitions"""
        return SumTree.nbytes_of(size)

    def draw(self, n: int, batch_size: int, count: int, beta: float) -> tuple[th.Tensor, th.Tensor]:
        """
        In every batch, one transition from each of ``B`` equal shares of the total.

        :param n: how many batches
        :param batch_size: B
        :param count: rows ever written to the buffer
        :param beta: 0 for weights of 1, 1 to correct fully for the draws
        :return: ``(n * B,)`` indices, row * E + environment, and weights in the loss
        """
        self._add_rows(count)
        self._unanswered += 1
        if self._unanswered == PATIENCE:
            warnings.warn(
                f"prioritized=True, but update_priorities was not called in {PATIENCE} draws, so priorities "
                "never change. SoftAC calls it; SB3's own algorithms do not",
                stacklevel=4,
            )
        index = self.tree.find(draws.shares(n, batch_size, self.greatest.device).flatten())
        weights = ((self.tree.weights[index] / self.tree.total) ** -beta).view(n, batch_size)
        return index, (weights / weights.amax(dim=1, keepdim=True)).flatten().float()

    def _add_rows(self, count: int) -> None:
        new = th.arange(max(self.count, count - self.length), count, device=self.greatest.device)
        if len(new):
            envs = th.arange(self.n_envs, device=new.device)
            index = (new[:, None] % self.length * self.n_envs + envs).flatten()
            self.tree.set(index, self.greatest.expand(len(index)))
        self.count = count

    def update(self, index: th.Tensor, td_errors: th.Tensor) -> None:
        """
        Transitions that were never added get no priority; those whose error is not finite keep the one they have.

        :param index: ``(B,)``
        :param td_errors: ``(B,)``
        """
        self._unanswered = 0
        errors, before = td_errors.detach().to(self.greatest.dtype).abs(), self.tree.weights[index]
        known = (before > 0) & errors.isfinite()
        weights = th.where(known, (errors + EPSILON) ** self.alpha, before)
        self.greatest = th.maximum(self.greatest, weights.max())
        self.tree.set(index, weights)

    # ---------------------------------------------------------------- files

    def live(self) -> Live:
        """:return: a copy of the weights, as rows of a ring"""
        ring = HostRing({"weights": Column((), np.dtype(np.float64))}, self.length, self.n_envs)
        ring.stored("weights").view(-1).copy_(self.tree.weights)
        return Live(ring, max(0, self.count - self.length), self.count)

    def read(self, live: Live) -> None:
        """
        :param live: the weights, placed as by ``live``
        """
        self.tree.fill(live.ring.stored("weights").view(-1))

    def counters(self) -> dict[str, Any]:
        """:return: what ``restore`` needs besides the weights, of JSON types"""
        return {"count": self.count, "greatest": self.greatest.item()}

    def restore(self, counters: dict[str, Any]) -> None:
        """
        :param counters: what ``counters`` returned
        """
        self.count = counters["count"]
        self.greatest.fill_(counters["greatest"])
