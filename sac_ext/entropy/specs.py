"""Targets from strings, dicts, numbers and functions, and back."""

import difflib
import numbers
import re
from dataclasses import MISSING, Field, fields
from typing import Any

from sac_ext.arguments import as_number, is_numeric
from sac_ext.entropy.adaptive import AnnealedTarget, OnPlateauTarget
from sac_ext.entropy.base import EntropyTarget
from sac_ext.entropy.per_component import ComponentTargets
from sac_ext.entropy.schedules import CosineTarget, ExponentialTarget, LinearTarget
from sac_ext.entropy.targets import (
    CallableTarget,
    ConstantTarget,
    EpsilonTarget,
    FractionTarget,
    PerDimTarget,
    SigmaTarget,
)

KINDS: dict[str, type[EntropyTarget]] = {
    "constant": ConstantTarget,
    "per_dim": PerDimTarget,
    "sigma": SigmaTarget,
    "fraction": FractionTarget,
    "epsilon": EpsilonTarget,
    "linear": LinearTarget,
    "cosine": CosineTarget,
    "exponential": ExponentialTarget,
    "annealed": AnnealedTarget,
    "on_plateau": OnPlateauTarget,
}
RENAMED = {"nats": "value"}  # parameters that have another name in a dict
FROM_TO = re.compile(r"(?P<start>[^>@]+)->(?P<end>[^>@]+)(@(?P<over>[^>@]+))?")  # 0.6->0.2@0.5


def parse_entropy_target(spec: Any, default: Any) -> EntropyTarget:
    """
    :param spec: ``"auto"``, a number in nats, ``"fraction:0.5"``, ``"linear:0.6->0.2@0.5"``,
        ``{"kind": "fraction", "rho": 0.5}``, an :class:`EntropyTarget`, a function of the progress remaining, or a list
        of these, one for each component
    :param default: what ``"auto"`` means: anything else of the above
    :raises ValueError: for an unknown kind or key, or a parameter out of its range
    :raises TypeError: for any other type
    """
    if isinstance(spec, EntropyTarget):
        return spec
    if isinstance(spec, dict):
        return _from_dict(spec)
    if isinstance(spec, list | tuple):
        return ComponentTargets(tuple(parse_entropy_target(each, default) for each in spec))
    if isinstance(spec, str):
        if spec == "auto" and default != "auto":
            return parse_entropy_target(default, default)
        try:
            return _from_string(spec)
        except ValueError as error:
            kinds = ", ".join(KINDS)
            raise error if kinds in str(error) else ValueError(f"{error} (in {spec!r}; kinds are {kinds})") from None
    if isinstance(spec, type):
        raise TypeError(f"target_entropy must be an instance, got the class {spec.__name__}: call it to create one")
    if callable(spec):
        return CallableTarget(spec)
    if isinstance(spec, bool) or not isinstance(spec, numbers.Real):
        raise TypeError(
            "target_entropy must be a number in nats, a string, a dict, an EntropyTarget, a function of the progress "
            f"remaining, or a list of these, one for each component, got {spec!r}"
        )
    return ConstantTarget(as_number("target_entropy", spec))


def spec_of(target: EntropyTarget) -> dict[str, Any] | list[Any]:
    """
    :param target: of one of the ``KINDS``, or a ``ComponentTargets`` of these
    :return: a dict that gives the same target, with defaults left out; a list of dicts for several components
    :raises ValueError: for a target of one's own, or a function
    """
    if isinstance(target, ComponentTargets):
        return [spec_of(each) for each in target.targets]
    for kind, target_class in KINDS.items():
        if type(target) is target_class:
            given = {key: getattr(target, each.name) for key, each in _keys(target_class).items()}
            defaults = {key: each.default for key, each in _keys(target_class).items()}
            return {"kind": kind} | {key: value for key, value in given.items() if value != defaults[key]}
    raise ValueError(f"{target!r} cannot be written as a dict, because it is none of the kinds {', '.join(KINDS)}")


def _from_string(spec: str) -> EntropyTarget:
    kind, separator, rest = spec.partition(":")
    if not separator:
        if is_numeric(spec):
            return ConstantTarget(as_number("target_entropy", spec))
        return _from_dict({"kind": spec})
    keys = _keys(_lookup(kind))
    steps = FROM_TO.fullmatch(rest)
    if steps is None:
        return _from_dict({"kind": kind, next(iter(keys)): rest})
    return _from_dict({"kind": kind} | {name: text for name, text in steps.groupdict().items() if text is not None})


def _from_dict(spec: dict[str, Any]) -> EntropyTarget:
    if "kind" not in spec:
        raise ValueError(f"target_entropy {spec!r} needs a 'kind', one of {', '.join(KINDS)}")
    target_class = _lookup(spec["kind"])
    keys = _keys(target_class)
    given = {key: value for key, value in spec.items() if key != "kind"}
    required = {key for key, each in keys.items() if each.default is MISSING}
    if not given.keys() <= keys.keys() or not required <= given.keys():
        must = f" (of which {', '.join(key for key in keys if key in required)} must be given)" if required else ""
        raise ValueError(
            f"target_entropy of kind {spec['kind']!r} takes the keys {', '.join(keys)}{must}, "
            f"got {', '.join(map(str, given)) or 'none'}"
        )
    return target_class(**{keys[key].name: value for key, value in given.items()})


def _keys(target_class: Any) -> dict[str, Field[Any]]:
    """:return: parameters by their key in a dict; ``"kind:number"`` sets the first one"""
    return {RENAMED.get(each.name, each.name): each for each in fields(target_class) if each.init}


def _lookup(kind: Any) -> type[EntropyTarget]:
    if not isinstance(kind, str) or kind not in KINDS:
        raise _unknown_kind(kind)
    return KINDS[kind]


def _unknown_kind(kind: Any) -> ValueError:
    if kind == "auto":
        return ValueError(
            "target_entropy 'auto' is not a kind and takes no number: pass the string 'auto' alone, or one of the "
            f"kinds {', '.join(KINDS)}"
        )
    names = [name for name in ("auto", *KINDS) if name != kind] if isinstance(kind, str) else []
    close = difflib.get_close_matches(str(kind).lower(), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return ValueError(
        f"target_entropy {kind!r} is not known: {hint}Give 'auto', a number in nats, or a kind "
        f"({', '.join(KINDS)}) as 'kind:number', 'kind:start->end@over' or {{'kind': ...}}"
    )
