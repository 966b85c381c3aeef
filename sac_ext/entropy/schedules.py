"""Targets that go from one level to another: shares of the maximum entropy on discrete actions, nats on Box."""

import math
from abc import abstractmethod
from dataclasses import dataclass

from sac_ext.arguments import as_number, share
from sac_ext.entropy.base import EntropyContext, EntropyTarget


@dataclass(frozen=True)
class ScheduledTarget(EntropyTarget):
    """
    From ``start`` to ``end`` over the first part of training, and ``end`` from then on.

    :param start: a share of the maximum entropy on discrete actions, nats on Box
    :param end: likewise
    :param over: share of training over which it changes, greater than 0, at most 1
    """

    start: float
    end: float
    over: float = 1.0

    def __post_init__(self) -> None:
        kind = type(self).__name__.removesuffix("Target").lower()
        for name in ("start", "end"):
            number = as_number(f"{name} of a {kind} target_entropy", getattr(self, name))
            object.__setattr__(self, name, number)
        object.__setattr__(self, "over", share(f"over of a {kind} target_entropy", self.over))

    def value(self, context: EntropyContext) -> float:
        done = min(1.0, (1 - context.progress_remaining) / self.over)
        return context.nats(self._level(max(0.0, done)))

    def follows_progress(self) -> bool:
        return self.start != self.end

    @abstractmethod
    def _level(self, done: float) -> float:
        """:return: level that goes from ``start`` at 0 to ``end`` at 1, never outside of these"""

    def preview(self, context: EntropyContext) -> list[float]:
        """Its ends, between which it stays."""
        return [context.nats(self.start), context.nats(self.end)]


@dataclass(frozen=True)
class LinearTarget(ScheduledTarget):
    """
    ``start + done (end - start)``.

    :param start: a share of the maximum entropy on discrete actions, nats on Box
    :param end: likewise
    :param over: share of training over which it changes, greater than 0, at most 1
    """

    def _level(self, done: float) -> float:
        return (1 - done) * self.start + done * self.end


@dataclass(frozen=True)
class CosineTarget(ScheduledTarget):
    """
    ``end + (start - end) (1 + cos(pi done)) / 2``: slow at both ends.

    :param start: a share of the maximum entropy on discrete actions, nats on Box
    :param end: likewise
    :param over: share of training over which it changes, greater than 0, at most 1
    """

    def _level(self, done: float) -> float:
        left = (1 + math.cos(math.pi * done)) / 2
        return left * self.start + (1 - left) * self.end


@dataclass(frozen=True)
class ExponentialTarget(ScheduledTarget):
    """
    ``start (end / start)^done``: changes by the same factor in equal times.

    :param start: a share of the maximum entropy on discrete actions, nats on Box; not 0
    :param end: likewise, of the same sign
    :param over: share of training over which it changes, greater than 0, at most 1
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 in (self.start, self.end) or (self.start > 0) != (self.end > 0):
            raise ValueError(
                f"an exponential target_entropy needs a start and an end that have the same sign and are not 0, got "
                f"{self.start:g} and {self.end:g}: use kind 'linear' or 'cosine'"
            )

    def _level(self, done: float) -> float:
        size = abs(self.start) ** (1 - done) * abs(self.end) ** done
        return math.copysign(size, self.start)
