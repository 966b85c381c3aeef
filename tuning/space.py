"""Search spaces as data: from a YAML file to Optuna's suggestions, and from those to arguments of SoftAC."""

import difflib
import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import optuna
import yaml

from sac_ext import SoftAC

BUILT_IN = ("box", "discrete")
_KEYS = ("low", "high", "log", "step", "choices", "argument", "format", "one_minus", "default", "when", "optional")
_LINEAR = "lin_"
_LARGEST = 1e300
_SET_BY_TUNER = ("policy", "env", "seed", "device", "_init_setup_model")


@dataclass(frozen=True)
class Parameter:
    """
    One thing to be tuned.

    A number lies from ``low`` to ``high``, in steps of ``step``, in its logarithm with ``log``; it is an integer if
    ``low`` and ``high`` are. ``choices`` are plain values, or names with any YAML value.
    """

    name: str
    arguments: tuple[str, ...]
    """Arguments of SoftAC that get the value, such as ``policy_kwargs.net_arch``; none for a mere switch."""
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] = ()
    values: tuple[Any, ...] = ()
    """What the choices stand for."""
    format: str | None = None
    """How the value is written, such as ``auto_{}``; ``like learning_rate`` for the schedule of the base entry."""
    one_minus: bool = False
    """Whether one minus the value is passed on."""
    default: Any = None
    """What SoftAC uses where the argument is not given."""
    when: tuple[tuple[str, Any], ...] = ()
    """Choices of other parameters without which this one does not exist."""
    optional: bool = False
    """Whether it is only tuned when asked for."""

    def suggest(self, trial: optuna.Trial) -> Any:
        """:return: the value that the sampler proposes"""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        assert self.low is not None
        assert self.high is not None
        if self._is_integer:
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def contains(self, value: Any) -> bool:
        """:return: whether the sampler could propose it"""
        if self.choices:
            return value in self.choices
        assert self.low is not None
        assert self.high is not None
        if not isinstance(value, int | float) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        step = self.step or (1 if self._is_integer else None)
        return step is None or math.isclose((value - self.low) / step, round((value - self.low) / step), abs_tol=1e-9)

    @property
    def _is_integer(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    def written(self, value: Any, base: Mapping[str, Any]) -> Any:
        """
        :param value: as proposed
        :param base: arguments that the study starts from
        :return: as SoftAC gets it
        """
        if self.choices:
            value = self.values[self.choices.index(value)]
        if self.one_minus:
            value = 1 - value
        pattern = self._pattern(base)
        return value if pattern is None else pattern.format(value)

    def read(self, argument: Any, base: Mapping[str, Any]) -> Any:
        """The inverse of :meth:`written`, or None where no proposal is written like this."""
        if self.choices:
            return next((name for name in self.choices if self.written(name, base) == argument), None)
        pattern = self._pattern(base)
        if pattern is not None:
            before, after = pattern.split("{}")
            text = str(argument)
            if not (isinstance(argument, str) and text.startswith(before) and text.endswith(after)):
                return None
            argument = text[len(before) : len(text) - len(after)]
        try:
            number = float(argument)
        except (TypeError, ValueError):
            return None
        number = 1 - number if self.one_minus else number
        assert self.low is not None
        assert self.high is not None
        inside = float(min(max(number, self.low), self.high))
        if math.isclose(number, inside, rel_tol=1e-9):  # 1 - 0.97 differs from 0.03 in the last digits
            number = inside
        return int(number) if self._is_integer and number.is_integer() else number

    def _pattern(self, base: Mapping[str, Any]) -> str | None:
        if self.format != "like learning_rate":
            return self.format
        linear = isinstance(base.get("learning_rate"), str) and base["learning_rate"].startswith(_LINEAR)
        return _LINEAR + "{}" if linear else None

    def __str__(self) -> str:
        if self.choices:
            text = "one of " + ", ".join(map(str, self.choices))
        else:
            text = f"{self.low:g} to {self.high:g}" + (", log" if self.log else "")
            text += f", step {self.step:g}" if self.step else ""
        conditions = " and ".join(f"{name} is {value}" for name, value in self.when)
        return f"{self.name}: {text}" + (f", when {conditions}" if conditions else "")


@dataclass(frozen=True)
class Space:
    """
    What is tuned.

    :param parameters: those that others depend on come first
    """

    parameters: tuple[Parameter, ...]

    @property
    def conditional(self) -> bool:
        """Whether some parameters exist only for some choices of others."""
        return any(parameter.when for parameter in self.parameters)

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """:return: the sampler's proposals, of those that exist"""
        params: dict[str, Any] = {}
        for parameter in self.parameters:
            if _exists(parameter, params):
                params[parameter.name] = parameter.suggest(trial)
        return params

    def arguments(self, params: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
        """
        :param params: as proposed
        :param base: arguments that the study starts from
        :return: arguments of SoftAC: the base, what the parameters change, and without what belongs to those that do
            not exist with these choices
        """
        arguments = dict(base)
        for parameter in self.parameters:
            if parameter.when and params and not _exists(parameter, params):
                for path in parameter.arguments:
                    _remove(arguments, path)
        for parameter in self.parameters:
            if parameter.name in params:
                for path in parameter.arguments:
                    _set(arguments, path, parameter.written(params[parameter.name], base))
        return arguments

    def params_of(self, base: Mapping[str, Any]) -> dict[str, Any] | None:
        """
        :param base: arguments that the study starts from
        :return: the proposals that mean the base itself, or None where they lie outside of the space
        """
        params: dict[str, Any] = {}
        for parameter in self.parameters:
            if not _exists(parameter, params):
                continue
            if parameter.arguments:
                value, *others = [_value_of(parameter, path, base) for path in parameter.arguments]
            else:
                value, others = _choice_of(parameter, self.parameters, base), []
            if value is None or any(other != value for other in others) or not parameter.contains(value):
                return None
            params[parameter.name] = value
        return params


def parse_space(data: Any, source: str, tune: Iterable[str] = ()) -> Space:
    """
    :param data: what YAML gave: names with their properties
    :param source: file to name in errors
    :param tune: names of optional parameters that are asked for
    :return: the space
    :raises ValueError: for a key, argument or name that does not exist (with the nearest that does), or wrong bounds
    """
    if not isinstance(data, dict) or not data:
        raise ValueError(f"{source} must map parameter names to their properties, got {data!r}")
    known = set(inspect.signature(SoftAC.__init__).parameters) - {"self", *_SET_BY_TUNER}
    every = [_parse_parameter(str(name), item, source, known) for name, item in data.items()]
    asked = list(tune)
    names = {name for each in every if each.optional for name in (each.name, *each.arguments)}
    for name in asked:
        if name not in names:
            raise ValueError(f"{source} has no optional parameter {name!r}{_nearest(name, names)}")
    parameters: list[Parameter] = []
    for parameter in every:
        if parameter.optional and not {parameter.name, *parameter.arguments} & set(asked):
            continue
        for other, value in parameter.when:
            before = next((each for each in parameters if each.name == other), None)
            if before is None:
                raise ValueError(
                    f"{source}: {parameter.name} exists when {other} is {value!r}, but no parameter {other!r} comes "
                    f"before it{_nearest(str(other), [each.name for each in parameters])}"
                )
            if value not in before.choices:
                raise ValueError(
                    f"{source}: {parameter.name} exists when {other} is {value!r}, which is none of its choices: "
                    f"{', '.join(map(repr, before.choices))}"
                )
        parameters.append(parameter)
    return Space(tuple(parameters))


def load_space(name: str) -> dict[str, Any]:
    """
    :param name: ``"box"``, ``"discrete"``, or the path of a YAML file
    :return: its content, for :func:`parse_space`
    :raises ValueError: if there is no such file, or it is no YAML
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
        raise ValueError(f"{name} is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{name} must map parameter names to their properties, got {data!r}")
    return data


def _parse_parameter(name: str, item: Any, source: str, known: set[str]) -> Parameter:
    where = f"{source}: {name}"
    if not isinstance(item, dict):
        raise ValueError(f"{where} must have properties such as low and high, or choices; got {item!r}")
    for key in item:
        if key not in _KEYS:
            raise ValueError(f"{where} has the unknown property {key!r}{_nearest(str(key), _KEYS)}")
    arguments = item.get("argument", name)
    arguments = [] if arguments is None else [arguments] if isinstance(arguments, str) else arguments
    if not isinstance(arguments, list | tuple):
        raise ValueError(f"{where}: argument must be a name, a list of names, or null, got {arguments!r}")
    for path in arguments:
        if not isinstance(path, str):
            raise ValueError(f"{where}: argument must be a name, a list of names, or null, got {path!r} in it")
        if path.partition(".")[0] not in known:
            raise ValueError(f"{where}: SoftAC has no argument {path!r}{_nearest(path, known)}")
    when = item.get("when") or {}
    if not isinstance(when, dict):
        raise ValueError(f"{where}: when must map other parameters to their choices, got {when!r}")
    shared: dict[str, Any] = {
        "name": name,
        "arguments": tuple(arguments),
        "format": item.get("format"),
        "one_minus": bool(item.get("one_minus", False)),
        "default": item.get("default"),
        "when": tuple(when.items()),
        "optional": bool(item.get("optional", False)),
    }
    pattern = shared["format"]
    if pattern is not None and not _is_pattern(pattern):
        raise ValueError(f"{where}: format must contain {{}} once, or be 'like learning_rate', got {pattern!r}")
    choices = item.get("choices")
    if choices is not None:
        if any(key in item for key in ("low", "high", "log", "step")):
            raise ValueError(f"{where} has choices and bounds; leave one of them out")
        if not isinstance(choices, list | dict) or len(choices) < 2:
            raise ValueError(
                f"{where}: choices must be at least two, as a list or as names with values; got {choices!r}"
            )
        names = tuple(choices)
        if any(not isinstance(each, str | int | float | bool) for each in names):
            raise ValueError(f"{where}: choices in a list must be plain values; give others names, as in a dict")
        return Parameter(
            choices=names, values=tuple(choices.values()) if isinstance(choices, dict) else names, **shared
        )
    low, high, log, step = (_number(where, item, key) for key in ("low", "high", "log", "step"))
    if low is None or high is None:
        raise ValueError(f"{where} needs low and high, or choices")
    if not low < high:
        raise ValueError(f"{where}: low must be below high, got {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"{where}: low must be positive where log is true, got {low}")
    if log and step is not None:
        raise ValueError(f"{where}: log and step do not go together")
    if step is not None and step <= 0:
        raise ValueError(f"{where}: step must be positive, got {step}")
    integers = step is not None and isinstance(low, int) and isinstance(high, int)
    if integers and (step != int(step) or (high - low) % int(step)):
        raise ValueError(f"{where}: step must be a whole number that divides high - low, got {step}")
    return Parameter(low=low, high=high, log=bool(log), step=step, **shared)


def _is_pattern(pattern: Any) -> bool:
    if pattern == "like learning_rate":
        return True
    if not isinstance(pattern, str) or pattern.count("{}") != 1:
        return False
    try:
        return pattern.format(0.5) == pattern.replace("{}", "0.5")
    except (ValueError, LookupError):
        return False


def _number(where: str, item: dict[str, Any], key: str) -> Any:
    value = item.get(key, False if key == "log" else None)
    if key == "log":
        if not isinstance(value, bool):
            raise ValueError(f"{where}: log must be true or false, got {value!r}")
        return value
    if isinstance(value, str):  # what YAML makes of 1e-3
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"{where}: {key} must be a number, got {value!r}") from None
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST
    ):
        raise ValueError(f"{where}: {key} must be a finite number, got {value!r}")
    return value


def _exists(parameter: Parameter, params: Mapping[str, Any]) -> bool:
    return all(params.get(name) == value for name, value in parameter.when)


def _get(arguments: Mapping[str, Any], path: str) -> Any:
    value: Any = arguments
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _set(arguments: dict[str, Any], path: str, value: Any) -> None:
    *folders, last = path.split(".")
    for key in folders:
        arguments[key] = dict(arguments.get(key) or {})
        arguments = arguments[key]
    arguments[last] = value


def _remove(arguments: dict[str, Any], path: str) -> None:
    *folders, last = path.split(".")
    for key in folders:
        if not isinstance(arguments.get(key), Mapping):
            return
        arguments[key] = dict(arguments[key])
        arguments = arguments[key]
    arguments.pop(last, None)


def _value_of(parameter: Parameter, path: str, base: Mapping[str, Any]) -> Any:
    """:return: the proposal that means what the base has there, None if there is none"""
    argument = _get(base, path)
    if argument is None and path.endswith("_learning_rate"):
        argument = base.get("learning_rate")  # which SoftAC falls back to
    if argument is None or argument == "auto":
        return parameter.default
    return parameter.read(argument, base)


def _choice_of(switch: Parameter, parameters: tuple[Parameter, ...], base: Mapping[str, Any]) -> Any:
    """:return: the choice of a mere switch under which what depends on it means the base"""
    for choice in switch.choices:
        depending = [each for each in parameters if (switch.name, choice) in each.when]
        values = [_value_of(each, path, base) for each in depending for path in each.arguments]
        if all(value is not None for value in values):
            return choice
    return None


def _nearest(name: str, known: Iterable[str]) -> str:
    """:return: how to go on after naming something unknown"""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known) or 'none'}"
