"""Draws in proportion to weights that change: a tree of sums, read and written in batches on any device.

Its nodes have many children instead of two, so that few operations reach the leaves: a level is read by a cumulative
sum over the children of all drawn nodes at once.
"""

import torch as th

CHILDREN = 128


def level_sizes(size: int) -> list[int]:
    """:return: number of nodes whose children are the leaves, number of their parents, and so on up to one"""
    sizes = [-(-size // CHILDREN)]
    while sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // CHILDREN))
    return sizes


class SumTree:
    """
    Weights that are not negative, all zero at first.

    :param size: how many weights
    :param device: where they are kept
    """

    def __init__(self, size: int, device: th.device) -> None:
        self.size = size
        # leaves first; (nodes, CHILDREN) each
        self._levels = [th.zeros((nodes, CHILDREN), dtype=th.float64, device=device) for nodes in level_sizes(size)]

    @staticmethod
    def nbytes_of(size: int) -> int:
        """:return: bytes for so many weights"""
        return 8 * CHILDREN * sum(level_sizes(size))

    @property
    def weights(self) -> th.Tensor:
        """``(size,)`` the leaves themselves; change them by ``set`` or ``fill`` only."""
        return self._levels[0].flatten()[: self.size]

    @property
    def total(self) -> th.Tensor:
        """``()`` the sum of all weights."""
        return self._levels[-1].sum()

    def set(self, index: th.Tensor, weights: th.Tensor) -> None:
        """
        :param index: ``(N,)``; if one occurs twice, its greatest weight counts
        :param weights: ``(N,)``
        """
        leaves = self._levels[0].view(-1)
        leaves.index_fill_(0, index, 0)
        leaves.scatter_reduce_(0, index, weights.to(leaves.dtype), "amax")
        for lower, upper in zip(self._levels, self._levels[1:], strict=False):
            index = index // CHILDREN
            upper.view(-1)[index] = lower[index].sum(dim=1)

    def fill(self, weights: th.Tensor) -> None:
        """
        :param weights: ``(size,)``
        """
        self.weights.copy_(weights)
        for lower, upper in zip(self._levels, self._levels[1:], strict=False):
            upper.view(-1)[: len(lower)] = lower.sum(dim=1)

    def find(self, shares: th.Tensor) -> th.Tensor:
        """
        :param shares: ``(N,)`` shares of the total, from 0 to 1
        :return: ``(N,)`` index of the weight that each falls into, if the weights are laid end to end
        """
        rest = shares * self.total
        node = th.zeros_like(shares, dtype=th.int64)
        for level in reversed(self._levels):
            weights = level[node]  # (N, CHILDREN)
            ends = weights.cumsum(dim=1)
            # rounding must not lead to a weight of zero: go at most to the last positive one
            last = (weights > 0).to(th.uint8).cumsum(dim=1, dtype=th.int64).argmax(dim=1)
            child = th.minimum((ends <= rest[:, None]).sum(dim=1), last)
            rest = (rest - (ends - weights).gather(1, child[:, None])[:, 0]).clamp(min=0)
            node = node * CHILDREN + child
        return node
