"""A target for each component of an action."""

import math
from dataclasses import dataclass
from typing import Any

from sac_ext.entropy.base import EntropyContext, EntropyTarget


@dataclass(frozen=True)
class ComponentTargets(EntropyTarget):
    """
    A target for each component of MultiDiscrete and MultiBinary actions, each as if that component were the whole
    action. It needs ``per_component=True``.

    :param targets: one for each component
    :raises ValueError: if there are none
    :raises TypeError: for anything but targets; ``parse_entropy_target`` takes lists of specs
    """

    targets: tuple[EntropyTarget, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        if not self.targets:
            raise ValueError("target_entropy is an empty list: give a target for each component")
        for target in self.targets:
            if not isinstance(target, EntropyTarget) or isinstance(target, ComponentTargets):
                raise TypeError(f"the target_entropy of a component must be a single EntropyTarget, got {target!r}")

    def for_one_model(self) -> EntropyTarget:
        return ComponentTargets(tuple(target.for_one_model() for target in self.targets))

    def value(self, context: EntropyContext) -> float:
        raise self._needs_coefficients()

    def of_components(self, context: EntropyContext) -> list[float]:
        return [target.value(part) for target, part in self._with_contexts(context)]

    def check(self, context: EntropyContext, per_component: bool = False) -> None:
        if not per_component:
            raise self._needs_coefficients()
        for target, part in self._with_contexts(context):
            target.check(part)

    def _with_contexts(self, context: EntropyContext) -> list[tuple[EntropyTarget, EntropyContext]]:
        parts = context.components()
        if len(parts) != len(self.targets):
            raise ValueError(
                f"target_entropy={list(self.targets)!r} has {len(self.targets)} target(s) for {len(parts)} components: "
                "give one for each, or a single one for all"
            )
        return list(zip(self.targets, parts, strict=True))

    def _needs_coefficients(self) -> ValueError:
        return ValueError(
            f"target_entropy={list(self.targets)!r} has a target for each component, but there is one coefficient for "
            "the whole action: give a single target, or per_component=True"
        )

    def follows_progress(self) -> bool:
        return any(target.follows_progress() for target in self.targets)

    def observe_components(self, mean_entropies: list[float]) -> None:
        for target, mean_entropy in zip(self.targets, mean_entropies, strict=True):
            if math.isfinite(mean_entropy):
                target.observe(mean_entropy)

    def state_dict(self) -> dict[str, Any]:
        """:return: state of each target, by the index of its component"""
        states = {str(index): target.state_dict() for index, target in enumerate(self.targets)}
        return {index: state for index, state in states.items() if state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for index, target in enumerate(self.targets):
            if str(index) in state:
                target.load_state_dict(state[str(index)])
