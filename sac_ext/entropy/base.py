"""What an entropy target is, what it may depend on, and which targets no policy can reach."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

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
    :param mean_return: mean return of the last ``stats_window_size`` episodes, None before the first one has ended
    :param component: index of the component of the action that this is about, None for the whole action
    """

    num_timesteps: int
    progress_remaining: float
    n_updates: int
    action_dim: int
    min_entropy: float
    max_entropy: float
    action_sizes: tuple[int, ...] = ()
    mean_return: float | None = None
    component: int | None = None

    @property
    def continuous(self) -> bool:
        """Whether entropies have no lower bound, so that a share of the maximum has no meaning."""
        return math.isinf(self.min_entropy)

    def components(self) -> list["EntropyContext"]:
        """:return: the context for each component alone"""
        return [
            replace(self, action_dim=1, max_entropy=math.log(n), action_sizes=(n,), component=index)
            for index, n in enumerate(self.action_sizes)
        ]

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
        :return: ``factor * level`` on discrete actions; on Box, where nats may be negative, the level of a policy that
            covers ``factor`` times as much of the range in each dimension, ``level + D log(factor)``
        """
        return level + self.action_dim * math.log(factor) if self.continuous else level * factor


class EntropyTarget(ABC):
    """The entropy that a learned coefficient steers the policy to."""

    @abstractmethod
    def value(self, context: EntropyContext) -> float:
        """
        Called once per ``train()`` while the coefficient is learned.

        :param context: the current state of training
        :return: target in nats; on Box that of the action scaled to [-1, 1]
        """

    def of_components(self, context: EntropyContext) -> list[float]:
        """
        Called instead of :meth:`value` where ``per_component=True`` learns a coefficient for each component. By default
        the value is divided in proportion to the components' maximum entropies.

        :param context: the current state of training, for the whole action; ``context.components()`` for each component
        :return: target of each component, in nats
        """
        total = as_number(f"the value of target_entropy {self!r}", self.value(context))
        check_reachable(total, context, self)
        return [total * component.max_entropy / context.max_entropy for component in context.components()]

    def observe(self, mean_entropy: float) -> None:  # noqa: B027  # a hook
        """
        Called after each ``train()`` that measured the entropy, with a learned coefficient and with a fixed one.

        :param mean_entropy: in nats, averaged over the batches of that call. With action masks, scaled to the same
            share of the entropy without them, so that it can be compared with the target
        """

    def observe_components(self, mean_entropies: list[float]) -> None:  # noqa: B027  # a hook
        """
        Called after :meth:`observe` with ``per_component=True``.

        :param mean_entropies: the same for each component; NaN for one whose masks left no choice in any state
        """

    def check(self, context: EntropyContext, per_component: bool = False) -> None:
        """
        Check the values of :meth:`preview` in advance. Called when the model is set up, when another target is set on
        it, and when a loaded model starts training.

        :param context: at the start of training
        :param per_component: whether each component has its own coefficient
        :raises ValueError: if no policy can reach a target
        """
        for nats in self.preview(context):
            check_reachable(nats, context, self)

    def preview(self, context: EntropyContext) -> list[float]:
        """
        Values for :meth:`check`. There are none by default, so that a target which counts its calls is first asked for
        its value in training.

        :param context: at the start of training
        :return: targets in nats
        """
        return []

    def follows_progress(self) -> bool:
        """:return: whether it starts over with a ``learn()`` that resets the step count; users are warned of that"""
        return False

    def for_one_model(self) -> "EntropyTarget":
        """:return: the target that a model uses when it is given this one: by default this one itself"""
        return self

    def state_dict(self) -> dict[str, Any]:
        """:return: the target's state, of JSON types; it is saved with the model"""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027  # a hook
        """
        Called where the file of a loaded model has a state of its target.

        :param state: what :meth:`state_dict` returned
        """


def check_reachable(nats: float, context: EntropyContext, target: EntropyTarget | None = None) -> None:
    """
    :param nats: a value of the target
    :param context: with the range of the action space, or of one of its components (one with a single value may have
        the target 0)
    :param target: for the error
    :raises ValueError: if no policy with a finite coefficient has this entropy
    """
    if context.min_entropy < nats <= context.max_entropy * (1 + 1e-12):
        return
    if context.max_entropy == 0:
        if context.component is None:
            raise ValueError(
                "with a single action, the policy's entropy is always 0 and cannot be steered: use a fixed ent_coef"
            )
        if nats == 0:
            return
    if context.component is None:
        whose, ways = "policies on this action space have", "Choose a target in this range, or a fixed ent_coef"
    else:
        whose, ways = f"policies on component {context.component} of the action have", "Choose a target in this range"
    low = "of" if context.continuous else f"above {context.min_entropy:.4g} and"
    asked = (
        ""
        if target is None
        else f". The target comes from {target!r}, at progress_remaining={context.progress_remaining:.3g}"
    )
    raise ValueError(
        f"target_entropy of {nats:.4g} nats cannot be reached: {whose} an entropy {low} at most "
        f"{context.max_entropy:.4g} (that of the uniform policy). {ways}{asked}"
    )
