"""Entropy targets: what the entropy of the policy should be, as a number in nats at each moment of training.

The coefficient that pulls the entropy there, and its optimizer, are not here. A target of your own is a subclass of
:class:`EntropyTarget` with one method.
"""

import difflib
import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any

from sac_ext.arguments import as_number, is_numeric, number_between, positive_number


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
    """

    num_timesteps: int
    progress_remaining: float
    n_updates: int
    action_dim: int
    min_entropy: float
    max_entropy: float


class EntropyTarget(ABC):
    """The entropy that a learned coefficient steers the policy to."""

    @abstractmethod
    def value(self, context: EntropyContext) -> float:
        """
        Called once per ``train()`` while the coefficient is learned.

        :param context: where training stands
        :return: target in nats; on Box in units of the action scaled to [-1, 1]
        """

    def observe(self, mean_entropy: float) -> None:  # noqa: B027  # a hook
        """
        Called after each ``train()`` that measured the entropy, with a learned coefficient and with a fixed one.

        :param mean_entropy: in nats, averaged over the batches of that call
        """

    def preview(self, context: EntropyContext) -> list[float]:
        """
        Called when the model is set up: values to check against what the action space can reach before training. None
        by default, so that a target which counts its calls is first asked when training asks.

        :param context: as at the start
        :return: targets in nats
        """
        return []


class _Steady(EntropyTarget):
    """Targets that do not change."""

    def preview(self, context: EntropyContext) -> list[float]:
        return [self.value(context)]


@dataclass(frozen=True)
class ConstantTarget(_Steady):
    """
    One number throughout.

    :param nats: the target, in nats
    """

    nats: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "nats", as_number("the value of a constant target_entropy", self.nats))

    def value(self, context: EntropyContext) -> float:
        return self.nats


@dataclass(frozen=True)
class PerDimTarget(_Steady):
    """
    ``-scale * D`` for actions of ``D`` components. ``scale=1`` is the heuristic of Haarnoja et al. 2018
    (arXiv:1812.05905, appendix D), which is SB3's ``"auto"``.

    :param scale: nats below 0 per component; negative values give a positive target
    """

    scale: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", as_number("the scale of a per_dim target_entropy", self.scale))

    def value(self, context: EntropyContext) -> float:
        return -self.scale * context.action_dim


@dataclass(frozen=True)
class FractionTarget(_Steady):
    """
    ``rho * log N`` for ``N`` actions, a share of the maximum entropy. Christodoulou 2019 (arXiv:1910.07207) uses 0.98.

    :param rho: greater than 0, at most 1
    """

    rho: float

    def __post_init__(self) -> None:
        rho = positive_number("rho of a fraction target_entropy", self.rho)
        object.__setattr__(self, "rho", number_between("rho of a fraction target_entropy", rho, low=0, high=1))

    def value(self, context: EntropyContext) -> float:
        if math.isinf(context.min_entropy):
            raise ValueError(
                f"target_entropy {self!r} is a share of the maximum entropy, but the entropy of continuous actions has "
                "no lower end to measure shares from: pass a number in nats or {'kind': 'per_dim', 'scale': ...}"
            )
        return self.rho * context.max_entropy


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

    def preview(self, context: EntropyContext) -> list[float]:
        """At every tenth of training."""
        return [self.value(replace(context, progress_remaining=tenth / 10)) for tenth in range(10, -1, -1)]


# kind: (class, {key in a dict spec: parameter of the class}); the first key is the one "kind:number" sets
KINDS: dict[str, tuple[type[EntropyTarget], dict[str, str]]] = {
    "constant": (ConstantTarget, {"value": "nats"}),
    "per_dim": (PerDimTarget, {"scale": "scale"}),
    "fraction": (FractionTarget, {"rho": "rho"}),
}


def parse_entropy_target(spec: Any, default_nats: float) -> EntropyTarget:
    """
    :param spec: ``"auto"``, a number in nats, ``"fraction:0.5"``, ``{"kind": "fraction", "rho": 0.5}``, an
        :class:`EntropyTarget`, or a function of the progress remaining
    :param default_nats: what ``"auto"`` means
    :raises ValueError: for an unknown kind or key, or a parameter out of its range
    :raises TypeError: for any other type
    """
    if isinstance(spec, EntropyTarget):
        return spec
    if isinstance(spec, dict):
        return _from_dict(spec)
    if isinstance(spec, str):
        return ConstantTarget(default_nats) if spec == "auto" else _from_string(spec)
    if isinstance(spec, type):
        raise TypeError(f"target_entropy must be an object, got the class {spec.__name__}: call it")
    if callable(spec):
        return CallableTarget(spec)
    if isinstance(spec, bool) or not isinstance(spec, numbers.Real):
        raise TypeError(
            "target_entropy must be a number in nats, a string, a dict, an EntropyTarget or a function of the progress "
            f"remaining, got {spec!r}"
        )
    return ConstantTarget(float(spec))


def check_reachable(nats: float, context: EntropyContext) -> None:
    """
    :param nats: a target
    :param context: with the range of the action space
    :raises ValueError: if no policy with a finite coefficient has this entropy
    """
    if context.min_entropy < nats <= context.max_entropy:
        return
    if context.max_entropy == 0:
        raise ValueError("a single action leaves no entropy to aim at: pass a fixed ent_coef")
    ends = f"at most {context.max_entropy:.4g}"
    if math.isfinite(context.min_entropy):
        ends = f"above {context.min_entropy:.4g} and {ends}"
    raise ValueError(
        f"target_entropy of {nats:.4g} nats cannot be reached: policies on this action space have an entropy "
        f"{ends} (that of the uniform policy). Choose a target inside, or a fixed ent_coef"
    )


def _from_string(spec: str) -> EntropyTarget:
    kind, separator, number = spec.partition(":")
    if separator:
        _, keys = _lookup(kind)
        return _from_dict({"kind": kind, next(iter(keys)): number})
    if is_numeric(spec):
        return ConstantTarget(as_number("target_entropy", spec))
    return _from_dict({"kind": spec})


def _from_dict(spec: dict[str, Any]) -> EntropyTarget:
    if "kind" not in spec:
        raise ValueError(f"target_entropy {spec!r} needs a 'kind', one of {', '.join(KINDS)}")
    target_class, keys = _lookup(spec["kind"])
    given = {key: value for key, value in spec.items() if key != "kind"}
    required = {key for key, name in keys.items() if _has_no_default(target_class, name)}
    if not given.keys() <= keys.keys() or not required <= given.keys():
        raise ValueError(
            f"target_entropy of kind {spec['kind']!r} takes the keys {', '.join(keys)}, "
            f"got {', '.join(map(str, given)) or 'none'}"
        )
    return target_class(**{keys[key]: value for key, value in given.items()})


def _has_no_default(target_class: Any, name: str) -> bool:
    return any(field.name == name and field.default is MISSING for field in fields(target_class))


def _lookup(kind: Any) -> tuple[type[EntropyTarget], dict[str, str]]:
    if not isinstance(kind, str) or kind not in KINDS:
        raise _unknown_kind(kind)
    return KINDS[kind]


def _unknown_kind(kind: Any) -> ValueError:
    close = difflib.get_close_matches(str(kind), [name for name in ("auto", *KINDS) if name != kind], n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(
        f"target_entropy {kind!r} is not known: {hint}Give 'auto', a number in nats, or a kind "
        f"({', '.join(KINDS)}) as 'kind:number' or {{'kind': ...}}"
    )
