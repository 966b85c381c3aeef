"""Reading and checking search spaces in YAML; every mistake is refused with a hint how to fix it."""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from sac_ext import SoftAC

from .parameters import Parameter, Space

BUILT_IN = ("box", "discrete")
_KEYS = ("low", "high", "log", "step", "choices", "argument", "format", "one_minus", "default", "when", "optional")
_LARGEST = 1e300
_SET_BY_TUNER = ("policy", "env", "seed", "device", "_init_setup_model")


def load_space(name: str) -> dict[str, Any]:
    """
    Read a space that ships with this package, or a file.

    :param name: ``"box"``, ``"discrete"``, or the path of a YAML file
    :return: its content, for :func:`parse_space`
    :raises ValueError: if there is no such file, or it is not YAML
    """
    if name in BUILT_IN:
        text = (files(__package__) / "spaces" / f"{name}.yml").read_text()
    elif Path(name).is_file():
        text = Path(name).read_text()
    else:
        raise ValueError(f"There is no space file {name!r}: pass the path of a YAML file, or one of {BUILT_IN}")
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{name} must map parameter names to their properties, got {data!r}")
    return data


def parse_space(data: Any, source: str, tune: Iterable[str] = ()) -> Space:
    """
    Check the content of a file, and choose the parameters that are tuned.

    :param data: content of the YAML file: parameter names with their properties
    :param source: file to name in errors
    :param tune: names of the optional parameters to tune
    :return: the space
    :raises ValueError: for a key, argument or name that does not exist (naming the closest that does), or wrong bounds
    """
    if not isinstance(data, dict) or not data:
        raise ValueError(f"{source} must map parameter names to their properties, got {data!r}")
    known = set(inspect.signature(SoftAC.__init__).parameters) - {"self", *_SET_BY_TUNER}
    every = [_parse_parameter(str(name), item, source, known) for name, item in data.items()]
    asked = list(tune)
    optional = {name for each in every if each.optional for name in (each.name, *each.arguments)}
    for name in asked:
        if name not in optional:
            raise ValueError(f"{source} has no optional parameter {name!r}{_nearest(name, optional)}")
    parameters: list[Parameter] = []
    for parameter in every:
        if parameter.optional and not {parameter.name, *parameter.arguments}.intersection(asked):
            continue
        _check_conditions(parameter, parameters, source)
        parameters.append(parameter)
    return Space(tuple(parameters))


def _check_conditions(parameter: Parameter, before: list[Parameter], source: str) -> None:
    """:raises ValueError: if ``when`` names a parameter that does not come before this one, or none of its choices"""
    choices = {each.name: each.choices for each in before}
    for other, value in parameter.when:
        condition = f"{source}: {parameter.name} exists when {other} is {value!r}"
        if other not in choices:
            raise ValueError(f"{condition}, but no parameter {other!r} comes before it{_nearest(str(other), choices)}")
        if value not in choices[other]:
            raise ValueError(f"{condition}, which is none of its choices: {', '.join(map(repr, choices[other]))}")


def _parse_parameter(name: str, item: Any, source: str, known: set[str]) -> Parameter:
    """Check the properties of one parameter."""
    where = f"{source}: {name}"
    if not isinstance(item, dict):
        raise ValueError(f"{where} must have properties such as low and high, or choices; got {item!r}")
    for key in item:
        if key not in _KEYS:
            raise ValueError(f"{where} has the unknown property {key!r}{_nearest(str(key), _KEYS)}")
    arguments = _arguments(where, item.get("argument", name), known)
    when = item.get("when") or {}
    if not isinstance(when, dict):
        raise ValueError(f"{where}: when must map other parameters to their choices, got {when!r}")
    pattern = item.get("format")
    if pattern is not None and not _is_pattern(pattern):
        raise ValueError(f"{where}: format must contain {{}} once, or be 'like learning_rate', got {pattern!r}")
    values = _bounds(where, item) if item.get("choices") is None else _choices(where, item)
    return Parameter(
        name,
        arguments,
        format=pattern,
        one_minus=bool(item.get("one_minus", False)),
        default=item.get("default"),
        when=tuple(when.items()),
        optional=bool(item.get("optional", False)),
        **values,
    )


def _arguments(where: str, argument: Any, known: set[str]) -> tuple[str, ...]:
    """:return: arguments of SoftAC; a file gives one, a list, or null for none"""
    if argument is None:
        return ()
    paths = [argument] if isinstance(argument, str) else argument
    if not isinstance(paths, list | tuple):
        raise ValueError(f"{where}: argument must be a name, a list of names, or null, got {argument!r}")
    for path in paths:
        if not isinstance(path, str):
            raise ValueError(f"{where}: argument must be a name, a list of names, or null, got a list with {path!r}")
        if path.partition(".")[0] not in known:
            raise ValueError(f"{where}: SoftAC has no argument {path!r}{_nearest(path, known)}")
    return tuple(paths)


def _choices(where: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """:return: fields of a :class:`Parameter` that has choices"""
    choices = item["choices"]
    if any(key in item for key in ("low", "high", "log", "step")):
        raise ValueError(f"{where} has choices and bounds; leave one of them out")
    if not isinstance(choices, list | dict) or len(choices) < 2:
        raise ValueError(f"{where}: choices must be at least two, as a list or as names with values; got {choices!r}")
    names = tuple(choices)
    if any(not isinstance(each, str | int | float | bool) for each in names):
        raise ValueError(
            f"{where}: choices in a list must be plain values; write others as a mapping from names to values"
        )
    values = tuple(choices.values()) if isinstance(choices, dict) else names
    return {"choices": names, "values": values}


def _bounds(where: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """:return: fields of a :class:`Parameter` that is a number"""
    low, high, step = (_number(where, item, key) for key in ("low", "high", "step"))
    log = item.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"{where}: log must be true or false, got {log!r}")
    if low is None or high is None:
        raise ValueError(f"{where} needs low and high, or choices")
    if not low < high:
        raise ValueError(f"{where}: low must be below high, got {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"{where}: low must be positive where log is true, got {low}")
    if log and step is not None:
        raise ValueError(f"{where}: log and step cannot be combined")
    if step is not None and step <= 0:
        raise ValueError(f"{where}: step must be positive, got {step}")
    integers = step is not None and isinstance(low, int) and isinstance(high, int)
    if integers and (step != int(step) or (high - low) % int(step)):
        raise ValueError(f"{where}: step must be a whole number that divides high - low, got {step}")
    return {"low": low, "high": high, "log": log, "step": step}


def _number(where: str, item: Mapping[str, Any], key: str) -> Any:
    """:return: the number, or None if there is none"""
    value = item.get(key)
    if isinstance(value, str):  # as YAML reads 1e-3
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{where}: {key} must be a number, got {value!r}") from None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise ValueError(f"{where}: {key} must be a finite number, got {value!r}")
    return value


def _is_pattern(pattern: Any) -> bool:
    """:return: whether a value can be written by this format"""
    if pattern == "like learning_rate":
        return True
    if not isinstance(pattern, str) or pattern.count("{}") != 1:
        return False
    try:
        return pattern.format(0.5) == pattern.replace("{}", "0.5")
    except (ValueError, LookupError):
        return False


def _nearest(name: str, known: Iterable[str]) -> str:
    """:return: a hint to add after an unknown name: the closest known one, or all of them"""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known) or 'none'}"
