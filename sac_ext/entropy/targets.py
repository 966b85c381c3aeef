"""Targets given by a formula, or by a user's function."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from sac_ext.arguments import as_number, positive_number, share
from sac_ext.entropy.base import EntropyContext, EntropyTarget


class Steady(EntropyTarget):
    """Targets that do not change."""

    def preview(self, context: EntropyContext) -> list[float]:
        return [self.value(context)]


@dataclass(frozen=True)
class ConstantTarget(Steady):
    """
    The same number throughout training.

    :param nats: the target in nats
    """

    nats: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "nats", as_number("the value of a constant target_entropy", self.nats))

    def value(self, context: EntropyContext) -> float:
        return self.nats


@dataclass(frozen=True)
class PerDimTarget(Steady):
    """
    ``-scale * D`` for actions of ``D`` components. ``scale=1`` is the heuristic of Haarnoja et al. 2018
    (arXiv:1812.05905, appendix D), which is SB3's ``"auto"``; BRO uses 0.5, FastSAC 0.

    :param scale: nats below 0 per component; negative values give a positive target
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", as_number("the scale of a per_dim target_entropy", self.scale))

    def value(self, context: EntropyContext) -> float:
        return -self.scale * context.action_dim


@dataclass(frozen=True)
class SigmaTarget(Steady):
    """
    ``D/2 log(2 pi e sigma^2)``, the entropy of a Gaussian with this standard deviation in each of ``D`` dimensions, on
    Box only. FlashSAC uses 0.15.

    :param sigma: standard deviation of the action scaled to [-1, 1], greater than 0
    """

    sigma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma", positive_number("sigma of a sigma target_entropy", self.sigma))

    def value(self, context: EntropyContext) -> float:
        if not context.continuous:
            raise ValueError(
                f"target_entropy {self!r} is the entropy of a Gaussian, but policies on discrete actions are "
                "categorical: use a fraction of the maximum entropy, such as 'fraction:0.2'"
            )
        return context.action_dim * (0.5 * math.log(2 * math.pi * math.e) + math.log(self.sigma))


@dataclass(frozen=True)
class FractionTarget(Steady):
    """
    ``rho * sum_k log A_k`` for components of ``A_k`` values, a share of the maximum entropy. Christodoulou 2019
    (arXiv:1910.07207) uses 0.98.

    :param rho: greater than 0, at most 1
    """

    rho: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rho", share("rho of a fraction target_entropy", self.rho))

    def value(self, context: EntropyContext) -> float:
        if context.continuous:
            raise ValueError(
                f"target_entropy {self!r} is a share of the maximum entropy, which is undefined for continuous actions "
                "because their entropy has no lower bound: pass a number in nats or {'kind': 'per_dim', 'scale': ...}"
            )
        return self.rho * context.max_entropy


@dataclass(frozen=True)
class EpsilonTarget(Steady):
    """
    The entropy of an epsilon-greedy policy, which draws each component uniformly with probability ``epsilon`` and takes
    its best value otherwise; on discrete actions only.

    :param epsilon: greater than 0, at most 1
    """

    epsilon: float

    def __post_init__(self) -> None:
        epsilon = share("epsilon of an epsilon target_entropy", self.epsilon)
        object.__setattr__(self, "epsilon", epsilon)

    def value(self, context: EntropyContext) -> float:
        if context.continuous:
            raise ValueError(
                f"target_entropy {self!r} is the entropy of an epsilon-greedy policy, which exists only for discrete "
                "actions: pass a number in nats or {'kind': 'sigma', 'sigma': ...}"
            )
        return sum(self.of_components(context))

    def of_components(self, context: EntropyContext) -> list[float]:
        return [self._of_component(n_values) for n_values in context.action_sizes]

    def _of_component(self, n_values: int) -> float:
        other = self.epsilon / n_values
        greedy = 1 - self.epsilon + other
        rest = 0.0 if other == 0 else (n_values - 1) * other * math.log(other)  # other underflows for a tiny epsilon
        return -greedy * math.log(greedy) - rest


@dataclass(frozen=True)
class CallableTarget(EntropyTarget):
    """
    Any function of the progress remaining.

    :param function: maps progress (1 at the start, 0 at the end) to nats
    """

    function: Callable[[float], float]

    def value(self, context: EntropyContext) -> float:
        nats = self.function(context.progress_remaining)
        return as_number(f"target_entropy (at progress_remaining={context.progress_remaining:g})", nats)

    def follows_progress(self) -> bool:
        return self.function(1.0) != self.function(0.0)

    def preview(self, context: EntropyContext) -> list[float]:
        """At every tenth of training."""
        return [self.value(replace(context, progress_remaining=tenth / 10)) for tenth in range(10, -1, -1)]
