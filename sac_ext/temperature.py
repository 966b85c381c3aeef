"""The entropy coefficient as the user specified it: learned or fixed, its initial value, its bounds and its entropy
target. The tensors and the optimizer belong to the model, under SB3's names."""

import math
import warnings
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import ConstantSchedule, FloatSchedule

from sac_ext.arguments import (
    as_number,
    evaluate_schedule,
    is_numeric,
    number_between,
    parse_schedule,
    positive_number,
)
from sac_ext.entropy import EntropyContext, EntropyTarget, check_reachable, parse_entropy_target
from sac_ext.heads import Defaults


@dataclass(frozen=True)
class LearnedEntCoef:
    """The coefficient is learned, starting at this value."""

    initial_value: float


def parse_ent_coef(value: str | float | Schedule, default_initial_value: float) -> LearnedEntCoef | FloatSchedule:
    """
    :param value: ``"auto"``, ``"auto_0.1"`` (learned, starting at 0.1), or a number, ``"lin_0.2"`` or function of the
        progress remaining (fixed)
    :param default_initial_value: initial value for ``"auto"``
    :return: a schedule if the coefficient is fixed
    :raises ValueError: for a negative coefficient, or an initial value that is not positive
    """
    if not isinstance(value, str) or not value.startswith("auto"):
        return parse_schedule("ent_coef", value)
    if value == "auto":
        return LearnedEntCoef(default_initial_value)
    prefix, _, initial_value = value.partition("_")
    if prefix != "auto" or not is_numeric(initial_value):
        raise ValueError(
            f"ent_coef must be 'auto', 'auto_<initial value>' such as 'auto_0.1', or a number, got {value!r}"
        )
    return LearnedEntCoef(positive_number("the initial value in ent_coef", initial_value))


def parse_ent_coef_bounds(value: Any) -> tuple[float, float]:
    """
    :param value: ``(low, high)``; ``high`` may be infinite
    :raises ValueError: unless ``0 <= low < high``
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ValueError(f"ent_coef_bounds must be a pair (low, high), got {value!r}")
    low, high = value
    low = number_between("the lower bound in ent_coef_bounds", low, low=0)
    if high == "inf":
        high = math.inf
    if high != math.inf:
        high = as_number("the upper bound in ent_coef_bounds", high)
    if low >= high:
        raise ValueError(f"ent_coef_bounds must be (low, high) with low < high, got {value!r}")
    return low, high


class Temperature:
    """
    The entropy coefficient as the user specified it, and its entropy target.

    :param ent_coef: see :func:`parse_ent_coef`
    :param ent_coef_bounds: ``(low, high)`` for a learned coefficient, a list of such pairs for several, or None for
        the default
    :param target_entropy: see :func:`~sac_ext.entropy.parse_entropy_target`
    :param defaults: those of the action space
    :param n_coefs: how many coefficients are learned
    :param trained: whether they already have values, so that the initial one in ``ent_coef`` may be out of the bounds
    :raises ValueError: for invalid specs, bounds on a fixed coefficient, or an initial value out of the bounds
    """

    initial_values: list[float]
    """One for each coefficient."""
    schedule: FloatSchedule | None = None
    """Of a fixed coefficient; None if it is learned."""
    log_bounds: list[tuple[float, float]] | None = None
    """Bounds of the logarithm of each learned coefficient."""
    targets: list[float]
    """The target of each learned coefficient in nats, once :meth:`aim` has been called."""
    target_was_used = False
    """Whether the model has been trained with its current target."""

    def __init__(
        self,
        ent_coef: Any,
        ent_coef_bounds: Any,
        target_entropy: Any,
        defaults: Defaults,
        n_coefs: int = 1,
        trained: bool = False,
    ) -> None:
        self._defaults = defaults
        self.targets = [math.nan] * n_coefs
        self._target_spec = target_entropy
        self.target: EntropyTarget = self._own(target_entropy)
        self._before = [math.nan] * n_coefs
        self._warned: set[tuple[int, float]] = set()
        parsed = parse_ent_coef(ent_coef, defaults.initial_ent_coef)
        if isinstance(parsed, LearnedEntCoef):
            self.initial_values = [parsed.initial_value] * n_coefs
            self._set_bounds(ent_coef, ent_coef_bounds, moves_start=trained or ent_coef == "auto")
            return
        if ent_coef_bounds is not None:
            raise ValueError(
                f"ent_coef_bounds={ent_coef_bounds!r} is for a learned coefficient, but ent_coef={ent_coef!r} is "
                "fixed: set ent_coef='auto', or ent_coef_bounds=None"
            )
        self.schedule = parsed
        self.initial_values = [self.fixed_value(1.0)]

    def _own(self, target_entropy: Any) -> EntropyTarget:
        """:return: the parsed target, as :meth:`EntropyTarget.for_one_model` gives it"""
        return parse_entropy_target(target_entropy, self._defaults.target_entropy).for_one_model()

    @staticmethod
    def is_learned(ent_coef: Any) -> bool:
        """
        :param ent_coef: see :func:`parse_ent_coef`
        :return: whether the coefficient is learned
        """
        return isinstance(parse_ent_coef(ent_coef, default_initial_value=1.0), LearnedEntCoef)

    @property
    def learned(self) -> bool:
        """Whether the coefficient is learned."""
        return self.schedule is None

    def fixed_value(self, progress_remaining: float) -> float:
        """
        :param progress_remaining: from 1 to 0
        :return: value of a fixed coefficient
        :raises ValueError: if a user's schedule gives a negative value
        """
        assert self.schedule is not None
        return evaluate_schedule("ent_coef", self.schedule, progress_remaining)

    @property
    def constant(self) -> bool:
        """Whether the coefficient is fixed to one number."""
        return self.schedule is not None and isinstance(self.schedule.value_schedule, ConstantSchedule)

    def check_target(self, context: EntropyContext) -> None:
        """
        Check in advance, before training starts, those values that the target can preview.

        :param context: at the start of training
        :raises ValueError: if no policy can reach a target
        """
        self.target.check(context, self.per_component)

    def state_of(self, target_entropy: Any) -> dict[str, Any]:
        """
        :param target_entropy: the model's attribute
        :return: state of the target; empty if users have set another target since the last gradient step
        """
        return self.target.state_dict() if target_entropy is self._target_spec else {}

    def adopt(self, target_entropy: Any, context: EntropyContext) -> None:
        """
        Switch to another target, if users have set one on the model.

        :param target_entropy: the model's attribute
        :param context: the current state of training
        :raises ValueError: if no policy can reach it; the previous target is then kept
        """
        if target_entropy is not self._target_spec:
            target = self._own(target_entropy)
            target.check(context, self.per_component)
            self.target, self._target_spec, self.target_was_used = target, target_entropy, False

    def aim(self, target_entropy: Any, context: EntropyContext) -> None:
        """
        Ask the target for its value and store it in :attr:`targets`.

        :param target_entropy: see :meth:`adopt`
        :param context: the current state of training
        :raises ValueError: if no policy can reach it
        :raises TypeError: if a user's target does not return a number
        """
        self.adopt(target_entropy, context)
        name = f"the value of target_entropy {self.target!r}"
        if self.per_component:
            values, parts = self.target.of_components(context), context.components()
            if len(values) != len(parts):
                raise ValueError(
                    f"target_entropy {self.target!r} must return one value for each of {len(parts)} components, got "
                    f"{len(values)}"
                )
        else:
            values, parts = [self.target.value(context)], [context]
        values = [as_number(name, value) for value in values]
        for nats, part in zip(values, parts, strict=True):
            check_reachable(nats, part, self.target)
        self.targets, self.target_was_used = values, True

    @property
    def per_component(self) -> bool:
        """Whether each component has its own coefficient."""
        return len(self.targets) > 1

    @property
    def target_nats(self) -> float:
        """Target for the entropy of the whole policy, in nats."""
        return sum(self.targets)

    def observe(self, mean_entropies: list[float], mean_targets: list[float] | None) -> None:
        """
        Pass the measured entropy to the target. With action masks, each state has its own target; the entropy is then
        scaled by the unmasked target over the mean of these, so that it can be compared with the unmasked target.

        :param mean_entropies: of the whole policy, or of each component if each has its own coefficient
        :param mean_targets: likewise, means of the states' targets, 0 where masks leave no choice; None without masks
        """
        scale = 1.0
        if mean_targets is not None:
            total = sum(mean_targets)
            scale = self.target_nats / total if total else math.nan
        if math.isfinite(scale):
            self.target.observe(sum(mean_entropies) * scale)
        if self.per_component:
            scales = [1.0] * len(mean_entropies)
            if mean_targets is not None:
                pairs = zip(self.targets, mean_targets, strict=True)
                scales = [nats / mean_target if mean_target else math.nan for nats, mean_target in pairs]
            scaled = [entropy * part for entropy, part in zip(mean_entropies, scales, strict=True)]
            self.target.observe_components(scaled)

    def start_run(self, target_entropy: Any, context: EntropyContext, counts_anew: bool) -> None:
        """
        Check the target before its first run, allow warnings about bounds once more, and warn if a schedule that the
        model has been trained with starts over.

        :param target_entropy: see :meth:`adopt`
        :param context: the current state of training
        :param counts_anew: whether the step count and progress start over
        :raises ValueError: if no policy can reach a target
        """
        self._warned.clear()
        if not self.learned:
            return
        self.adopt(target_entropy, context)
        if not self.target_was_used:
            self.check_target(context)
        elif counts_anew and self.target.follows_progress():
            warnings.warn(
                f"target_entropy {self.target!r} starts over with this call of learn(), although the model has already "
                "been trained with it. To continue it, call learn(..., reset_num_timesteps=False); to keep the level "
                "it has reached, set a constant target",
                stacklevel=3,
            )

    def warn_of_held_bounds(self, ent_coefs: list[float], targets: list[float]) -> None:
        """
        Warn, once per run and bound, if a coefficient is at a bound and has not changed since the last call.

        :param ent_coefs: the coefficients' current values
        :param targets: entropy target of each in nats; with action masks, its mean over the states
        """
        before, self._before = self._before, ent_coefs
        for index, (log_bounds, ent_coef) in enumerate(zip(self.log_bounds or (), ent_coefs, strict=False)):
            name = "ent_coef" if len(ent_coefs) == 1 else f"ent_coef of component {index}"
            for bound in map(math.exp, log_bounds):
                held = ent_coef == before[index] and math.isclose(ent_coef, bound, rel_tol=1e-5)
                if held and (index, bound) not in self._warned:
                    self._warned.add((index, bound))
                    warnings.warn(
                        f"{name} is held at its bound {bound:.4g}: the entropy target of {targets[index]:.4g} "
                        "nats is not reached within ent_coef_bounds. Choose another target_entropy, wider "
                        "ent_coef_bounds, or a fixed ent_coef",
                        stacklevel=2,
                    )

    def _set_bounds(self, ent_coef: Any, ent_coef_bounds: Any, moves_start: bool) -> None:
        name = "ent_coef_bounds"
        if ent_coef_bounds is None:
            name, ent_coef_bounds = "the default ent_coef_bounds", self._defaults.ent_coef_bounds
        if ent_coef_bounds is None:
            return
        pairs = self._pairs(ent_coef_bounds)
        if moves_start:
            self.initial_values = [
                min(max(value, low), high) for value, (low, high) in zip(self.initial_values, pairs, strict=True)
            ]
        for value, (low, high) in zip(self.initial_values, pairs, strict=True):
            if not low <= value <= high:
                raise ValueError(
                    f"ent_coef={ent_coef!r} starts at {value:g}, outside of {name} ({low:g}, {high:g}): choose a value "
                    "inside them, other ent_coef_bounds, or ent_coef='auto'"
                )
        self.log_bounds = [(math.log(low) if low > 0 else -math.inf, math.log(high)) for low, high in pairs]

    def _pairs(self, ent_coef_bounds: Any) -> list[tuple[float, float]]:
        """:return: bounds of each coefficient"""
        n_coefs = len(self.initial_values)
        several = isinstance(ent_coef_bounds, tuple | list) and any(
            isinstance(bounds, tuple | list) for bounds in ent_coef_bounds
        )
        if not several:
            return [parse_ent_coef_bounds(ent_coef_bounds)] * n_coefs
        if len(ent_coef_bounds) != n_coefs:
            raise ValueError(
                f"ent_coef_bounds has {len(ent_coef_bounds)} pairs for {n_coefs} coefficient(s): pass a single (low, "
                "high), or, with per_component=True, one for each component"
            )
        return [parse_ent_coef_bounds(bounds) for bounds in ent_coef_bounds]
