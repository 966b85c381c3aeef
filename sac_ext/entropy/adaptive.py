"""Targets that go by what training shows, and remember it."""

import math
import warnings
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from sac_ext.arguments import as_number, integer_from, number_between, positive_number
from sac_ext.entropy.base import EntropyContext, EntropyTarget


@dataclass
class Lowering(EntropyTarget):
    """
    A level that is lowered again and again, down to a floor.

    :param start: a share of the maximum entropy on discrete actions, nats on Box
    :param end: the floor, likewise
    :param factor: by which it is lowered: the level itself on discrete actions; on Box the part of the range that the
        policy covers in each dimension, so the level falls by ``-D log(factor)``
    """

    copied: ClassVar[bool] = True

    start: float
    end: float
    factor: float = 0.9
    level: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            setattr(self, name, as_number(f"{name} of target_entropy {type(self).__name__}", getattr(self, name)))
        if self.end > self.start:
            raise ValueError(f"{type(self).__name__} lowers its level: end={self.end:g} is above start={self.start:g}")
        self.factor = number_between("factor", positive_number("factor", self.factor), low=0, high=1)
        if self.factor == 1:
            raise ValueError("factor must be below 1: the target would never change")
        self.level = self.start

    def lower(self, context: EntropyContext) -> None:
        self.level = max(self.end, context.lowered(self.level, self.factor))

    def preview(self, context: EntropyContext) -> list[float]:
        return [context.nats(self.start), context.nats(self.end)]

    def state_dict(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if not each.init}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for each in fields(self):
            if not each.init and each.name in state:
                setattr(self, each.name, state[each.name])


@dataclass
class AnnealedTarget(Lowering):
    """
    TES-SAC (Xu et al. 2021, arXiv:2112.02852): the target is lowered each time the policy has reached it, that is, when
    a moving mean of its entropy has been within ``tolerance`` of the target, with a moving standard deviation of at
    most ``max_std``, for ``patience`` gradient steps in all; and after ``timeout`` gradient steps in any case.

    :param start: a share of the maximum entropy on discrete actions, nats on Box
    :param end: the floor, likewise
    :param factor: by which it is lowered
    :param tolerance: nats
    :param max_std: nats
    :param patience: gradient steps
    :param timeout: gradient steps
    :param decay: of the moving mean and variance, per gradient step
    """

    tolerance: float = 0.01
    max_std: float = 0.05
    patience: int = 1000
    timeout: int = 100_000
    decay: float = 0.999
    mean: float | None = field(default=None, init=False, repr=False, compare=False)
    variance: float = field(default=0.0, init=False, repr=False, compare=False)
    reached_for: int = field(default=0, init=False, repr=False, compare=False)
    waited_for: int = field(default=0, init=False, repr=False, compare=False)
    n_updates: int = field(default=0, init=False, repr=False, compare=False)
    observed: float | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tolerance = positive_number("tolerance", self.tolerance)
        self.max_std = positive_number("max_std", self.max_std)
        self.patience = integer_from("patience", self.patience, low=1)
        self.timeout = integer_from("timeout", self.timeout, low=1)
        self.decay = number_between("decay", self.decay, low=0, high=1)
        if self.decay == 1:
            raise ValueError("decay must be below 1: the moving mean would never move")

    def observe(self, mean_entropy: float) -> None:
        if math.isfinite(mean_entropy):
            self.observed = mean_entropy

    def value(self, context: EntropyContext) -> float:
        nats = context.nats(self.level)
        if self.mean is None:
            self.mean, self.n_updates = nats, context.n_updates
        if context.n_updates < self.n_updates:  # steps may be counted anew
            self.n_updates = context.n_updates
        if self.observed is None or context.n_updates == self.n_updates:
            return nats
        steps = context.n_updates - self.n_updates  # since the last observation: the actor may be delayed
        self.n_updates = context.n_updates
        # as many steps with this entropy: mean and variance as after that many single ones
        deviation, kept = self.observed - self.mean, self.decay**steps
        self.mean += (1 - kept) * deviation
        self.variance = kept * (self.variance + (1 - kept) * deviation**2)
        self.observed = None
        self.waited_for += steps
        if abs(self.mean - nats) < self.tolerance and math.sqrt(self.variance) <= self.max_std:
            self.reached_for += steps
        if self.reached_for >= self.patience or self.waited_for >= self.timeout:
            self.reached_for = self.waited_for = 0
            self.lower(context)
        return context.nats(self.level)


@dataclass
class OnPlateauTarget(Lowering):
    """
    Lowered each time the mean return of the last episodes has not improved for a while. It warns where no return is
    known after as many steps.

    :param start: a share of the maximum entropy on discrete actions, nats on Box
    :param end: the floor, likewise
    :param factor: by which it is lowered
    :param patience: environment steps without a better mean return
    :param threshold: by how much a return must be better to count
    """

    patience: int = 10_000
    threshold: float = 0.0
    best: float | None = field(default=None, init=False, repr=False, compare=False)
    since: int = field(default=0, init=False, repr=False, compare=False)
    warned: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.patience = integer_from("patience", self.patience, low=1)
        self.threshold = number_between("threshold", self.threshold, low=0)

    def value(self, context: EntropyContext) -> float:
        now, mean_return = context.num_timesteps, context.mean_return
        self.since = min(self.since, now)  # steps may be counted anew
        if mean_return is not None:
            if self.best is None or mean_return > self.best + self.threshold:
                self.best, self.since = mean_return, now
            elif now - self.since >= self.patience:
                self.since = now
                self.lower(context)
        elif now - self.since >= self.patience and not self.warned:
            self.warned = True
            warnings.warn(
                f"target_entropy {self!r} goes by the returns of episodes, but none is known after {now} steps: put a "
                "Monitor around the environment, or VecMonitor around a vectorised one (make_vec_env does), or raise "
                "patience if no episode has ended yet",
                stacklevel=2,
            )
        return context.nats(self.level)
