"""Targets that depend on what training shows, and keep a state."""

import copy
import math
import warnings
from dataclasses import dataclass, field, fields
from typing import Any

from sac_ext.arguments import as_number, integer_from, number_between, positive_number, share
from sac_ext.entropy.base import EntropyContext, EntropyTarget


@dataclass
class Lowering(EntropyTarget):
    """
    A level that is lowered repeatedly, down to a floor.

    :param start: a share of the maximum entropy on discrete actions, nats on Box
    :param end: the floor, likewise
    :param factor: by which it is lowered: on discrete actions, the level is multiplied by it; on Box, the level falls
        by ``-D log(factor)``, so the part of the range that the policy covers shrinks by it in each dimension
    """

    start: float
    end: float
    factor: float = 0.9
    level: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            setattr(self, name, as_number(self._name(name), getattr(self, name)))
        if self.end > self.start:
            raise ValueError(
                f"{type(self).__name__} only lowers the target, but end={self.end:g} is above start={self.start:g}"
            )
        self.factor = share(self._name("factor"), self.factor)
        if self.factor == 1:
            raise ValueError(f"{self._name('factor')} must be below 1, or the target would never change")
        self.level = self.start

    def _name(self, parameter: str) -> str:
        """:return: name of a parameter, for errors"""
        return f"{parameter} of target_entropy {type(self).__name__}"

    def _steps(self, parameter: str) -> int:
        """:return: value of a parameter that YAML may give as ``1e4``, a string"""
        name, number = self._name(parameter), as_number(self._name(parameter), getattr(self, parameter))
        if not number.is_integer():
            raise ValueError(f"{name} must be an integer, got {number:g}")
        return integer_from(name, int(number), low=1)

    def for_one_model(self) -> EntropyTarget:
        return copy.deepcopy(self)

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
    most ``max_std``, for ``patience`` gradient steps in total; and after ``timeout`` gradient steps in any case.

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
    since: int = field(default=0, init=False, repr=False, compare=False)
    n_updates: int = field(default=0, init=False, repr=False, compare=False)
    observed: float | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.tolerance = positive_number(self._name("tolerance"), self.tolerance)
        self.max_std = positive_number(self._name("max_std"), self.max_std)
        self.patience = self._steps("patience")
        self.timeout = self._steps("timeout")
        self.decay = number_between(self._name("decay"), self.decay, low=0, high=1)
        if self.decay == 1:
            raise ValueError(f"{self._name('decay')} must be below 1, or the moving mean would never change")

    def observe(self, mean_entropy: float) -> None:
        if math.isfinite(mean_entropy):
            self.observed = mean_entropy

    def value(self, context: EntropyContext) -> float:
        now = context.n_updates
        if self.mean is None:
            self.mean, self.n_updates, self.since = context.nats(self.level), now, now
        self.n_updates, self.since = min(self.n_updates, now), min(self.since, now)  # steps may be counted anew
        if self.observed is not None and now > self.n_updates:
            self._follow(self.observed, now - self.n_updates, context.nats(self.level))
            self.n_updates, self.observed = now, None
        if self.reached_for >= self.patience or now - self.since >= self.timeout:
            self.reached_for, self.since = 0, now
            self.lower(context)
        return context.nats(self.level)

    def _follow(self, entropy: float, steps: int, target: float) -> None:
        """Take all gradient steps since the last observation to have this entropy: the actor may be delayed."""
        assert self.mean is not None
        deviation, kept = entropy - self.mean, self.decay**steps  # mean and variance as after that many single steps
        self.mean += (1 - kept) * deviation
        self.variance = kept * (self.variance + (1 - kept) * deviation**2)
        if abs(self.mean - target) < self.tolerance and math.sqrt(self.variance) <= self.max_std:
            self.reached_for += steps


@dataclass
class OnPlateauTarget(Lowering):
    """
    Lowered each time the mean return of the last episodes has not improved for ``patience`` environment steps. It warns
    if no return is known after as many steps.

    :param start: a share of the maximum entropy on discrete actions, nats on Box
    :param end: the floor, likewise
    :param factor: by which it is lowered
    :param patience: environment steps without a better mean return
    :param threshold: by how much the mean return must rise to count as better
    """

    patience: int = 10_000
    threshold: float = 0.0
    best: float | None = field(default=None, init=False, repr=False, compare=False)
    waited_for: int = field(default=0, init=False, repr=False, compare=False)
    num_timesteps: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.patience = self._steps("patience")
        self.threshold = number_between(self._name("threshold"), self.threshold, low=0)
        self._warned = False

    def value(self, context: EntropyContext) -> float:
        before, self.num_timesteps = self.num_timesteps, context.num_timesteps
        self.waited_for += self.num_timesteps - (before if before <= self.num_timesteps else 0)  # counted anew
        if context.mean_return is None:
            self._warn_if_in_vain()
        elif self.best is None or context.mean_return > self.best + self.threshold:
            self.best, self.waited_for = context.mean_return, 0
        elif self.waited_for >= self.patience:
            self.waited_for = 0
            self.lower(context)
        return context.nats(self.level)

    def _warn_if_in_vain(self) -> None:
        if self.waited_for >= self.patience and not self._warned:
            self._warned = True
            warnings.warn(
                f"target_entropy {self!r} depends on episode returns, but none is known after {self.waited_for} steps: "
                "wrap the environment in Monitor (as make_vec_env does), or a vectorised one in VecMonitor; if no "
                "episode has ended yet, raise patience",
                stacklevel=2,
            )
