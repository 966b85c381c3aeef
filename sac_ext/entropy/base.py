"""What an entropy target is, what it may depend on, and what no policy can reach."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from sac_ext.arguments import as_number


@dataclass(frozen=True)
class EntropyContext:
    """
    What a target may depend on.

    :param num_timesteps: environment steps so far
    :param progress_remaining: from 1 at the start of training to 0 at its end
    :param n_updates: gradient steps so far
    :param action_dim: number of components of an action
    :param min_entropy: lower bound of the entropy in nats; ``-inf`` on Box
    :param max_entropy: entropy of the uniform policy in nats
    :param action_sizes: number of values of each component; none on Box
    :param mean_return: of the episodes that ended last (as many as ``stats_window_size``), None before the first one
    """

    num_timesteps: int
    progress_remaining: float
    n_updates: int
    action_dim: int
    min_entropy: float
    max_entropy: float
    action_sizes: tuple[int, ...] = ()
    mean_return: float | None = None

    @property
    def continuous(self) -> bool:
        """Whether entropies have no lower end, so that there are no shares of the maximum."""
        return math.isinf(self.min_entropy)

    def components(self) -> list["EntropyContext"]:
        """:return: the same for each component alone"""
        return [replace(self, action_dim=1, max_entropy=math.log(n), action_sizes=(n,)) for n in self.action_sizes]

    def nats(self, level: float) -> float:
        """
        :param level: a share of the maximum entropy on discrete actions, nats on Box
        :return: nats
        """
        return level if self.continuous else level * self.max_entropy

    def lowered(self, level: float, factor: float) -> float:
        """
        :param level: as for :meth:`nats`
        :param factor: below 1
        :return: this share of it on discrete actions; on Box, where nats may be negative, the level of a policy that
            covers this share of the range in each dimension, ``level + D log(factor)``
        """
        return level + self.action_dim * math.log(factor) if self.continuous else level * factor


class EntropyTarget(ABC):
    """The entropy that a learned coefficient steers the policy to."""

    copied: ClassVar[bool] = False
    """Whether each model gets a copy of its own, for targets that remember something."""

    @abstractmethod
    def value(self, context: EntropyContext) -> float:
        """
        Called once per ``train()`` while the coefficient is learned.

        :param context: where training stands
        :return: target in nats; on Box in units of the action scaled to [-1, 1]
        """

    def of_components(self, context: EntropyContext) -> list[float]:
        """
        Called instead of :meth:`value` where ``per_component=True`` learns a coefficient for each component. By default
        the value is divided in proportion to the components' maximum entropies.

        :param context: where training stands, for the whole action; ``context.components()`` for each component
        :return: target of each component, in nats
        """
        total = as_number(f"the value of target_entropy {self!r}", self.value(context))
        check_reachable(total, context)
        return [total * component.max_entropy / context.max_entropy for component in context.components()]

    def observe_components(self, mean_entropies: list[float]) -> None:
        """
        Called instead of :meth:`observe` with ``per_component=True``. By default that gets their sum.

        :param mean_entropies: of each component in nats; NaN of one whose masks left no choice in any state
        """
        total = sum(mean_entropies)
        if math.isfinite(total):
            self.observe(total)

    def observe(self, mean_entropy: float) -> None:  # noqa: B027  # a hook
        """
        Called after each ``train()`` that measured the entropy, with a learned coefficient and with a fixed one.

        :param mean_entropy: in nats, averaged over the batches of that call
        """

    def start_over(self) -> None:  # noqa: B027  # a hook
        """Called when ``learn()`` counts its steps anew on a model that is trained already."""

    def check(self, context: EntropyContext, per_component: bool) -> None:
        """
        Called when the model is set up, to look ahead as far as :meth:`preview` does.

        :param context: as at the start
        :param per_component: whether each component has a coefficient
        :raises ValueError: if no policy can reach a target
        """
        for nats in self.preview(context):
            check_reachable(nats, context)

    def preview(self, context: EntropyContext) -> list[float]:
        """
        Values for :meth:`check`. None by default, so that a target which counts its calls is first asked when training
        asks.

        :param context: as at the start
        :return: targets in nats
        """
        return []

    def state_dict(self) -> dict[str, Any]:
        """:return: what the target remembers, as JSON has it; it is saved with the model"""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027  # a hook
        """
        :param state: what :meth:`state_dict` gave
        """


def check_reachable(nats: float, context: EntropyContext) -> None:
    """
    :param nats: a target
    :param context: with the range of the action space
    :raises ValueError: if no policy with a finite coefficient has this entropy
    """
    if context.min_entropy < nats <= context.max_entropy * (1 + 1e-12):
        return
    if context.max_entropy == 0:
        raise ValueError("a single action leaves no entropy to aim at: pass a fixed ent_coef")
    ends = f"at most {context.max_entropy:.4g}"
    if not context.continuous:
        ends = f"above {context.min_entropy:.4g} and {ends}"
    raise ValueError(
        f"target_entropy of {nats:.4g} nats cannot be reached: policies on this action space have an entropy "
        f"{ends} (that of the uniform policy). Choose a target inside, or a fixed ent_coef"
    )


def check_component_reachable(nats: float, context: EntropyContext) -> None:
    """
    The same for one component among others, which may have a single value and aim at nothing.

    :param nats: a target
    :param context: of the component
    :raises ValueError: if no policy with a finite coefficient has this entropy
    """
    if nats != 0 or context.max_entropy != 0:
        check_reachable(nats, context)
