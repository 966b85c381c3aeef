"""Search spaces: from Optuna's proposals to arguments of SoftAC, and back."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

_LINEAR = "lin_"


@dataclass(frozen=True)
class Parameter:
    """
    A parameter that a study tunes.

    A number lies between ``low`` and ``high``, in steps of ``step``, on a log scale with ``log``; it is an integer if
    ``low`` and ``high`` are. ``choices`` are plain values, or names of values of any kind.
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
    """How the value is written, such as ``auto_{}``; ``like learning_rate``: with the schedule of the base entry."""
    one_minus: bool = False
    """Whether one minus the value is passed on."""
    default: Any = None
    """The value that SoftAC uses if the argument is not given."""
    when: tuple[tuple[str, Any], ...] = ()
    """Choices of other parameters with which this one exists."""
    optional: bool = False
    """Whether it is tuned only if ``--tune`` names it."""

    def suggest(self, trial: optuna.Trial) -> Any:
        """:return: the value that the sampler proposes for this trial"""
        if self.choices:
            return trial.suggest_categorical(self.name, self.choices)
        assert self.low is not None
        assert self.high is not None
        if self._is_integer:
            return trial.suggest_int(self.name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)

    def contains(self, value: Any) -> bool:
        """:return: whether the sampler could propose this value"""
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
        Turn a proposal into what SoftAC gets: the value of a choice, a schedule such as ``lin_0.001``, or a number.

        :param value: proposal
        :param base: arguments that the study starts from
        :return: value of the argument of SoftAC
        """
        if self.choices:
            value = self.values[self.choices.index(value)]
        if self.one_minus:
            value = 1 - value
        pattern = self._pattern(base)
        return value if pattern is None else pattern.format(value)

    def read(self, argument: Any, base: Mapping[str, Any]) -> Any:
        """The inverse of :meth:`written`; None if no proposal is written like this."""
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
        """:return: the format, None if the value is passed on as it is"""
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
    All parameters that a study tunes.

    :param parameters: the parameters; those that others depend on come first
    """

    parameters: tuple[Parameter, ...]

    @property
    def conditional(self) -> bool:
        """Whether some parameters exist only for some choices of others."""
        return any(parameter.when for parameter in self.parameters)

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """:return: the sampler's proposals, by name, for the parameters that exist with the proposed choices"""
        params: dict[str, Any] = {}
        for parameter in self.parameters:
            if _exists(parameter, params):
                params[parameter.name] = parameter.suggest(trial)
        return params

    def arguments(self, params: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
        """
        Apply proposals to the arguments that the study starts from.

        :param params: proposals by name
        :param base: arguments that the study starts from
        :return: arguments of SoftAC: the base with the proposals, without the arguments of parameters that do not exist
            with these choices
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
        Find the point of the space at which the study starts. The inverse of :meth:`arguments`.

        :param base: arguments that the study starts from
        :return: the proposals that give the base itself, or None if it lies outside of the space
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


def _exists(parameter: Parameter, params: Mapping[str, Any]) -> bool:
    """:return: whether this parameter exists with the choices that were made for others"""
    return all(params.get(name) == value for name, value in parameter.when)


def _get(arguments: Mapping[str, Any], path: str) -> Any:
    """:return: the argument at a path such as ``policy_kwargs.net_arch``, None if there is none"""
    value: Any = arguments
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _set(arguments: dict[str, Any], path: str, value: Any) -> None:
    """Set the argument at a path, copying the dicts on the way."""
    *folders, last = path.split(".")
    for key in folders:
        arguments[key] = dict(arguments.get(key) or {})
        arguments = arguments[key]
    arguments[last] = value


def _remove(arguments: dict[str, Any], path: str) -> None:
    """Remove the argument at a path, if it is there, copying the dicts on the way."""
    *folders, last = path.split(".")
    for key in folders:
        if not isinstance(arguments.get(key), Mapping):
            return
        arguments[key] = dict(arguments[key])
        arguments = arguments[key]
    arguments.pop(last, None)


def _value_of(parameter: Parameter, path: str, base: Mapping[str, Any]) -> Any:
    """:return: the proposal that gives what the base has at this path, None if there is none"""
    argument = _get(base, path)
    if argument is None and path.endswith("_learning_rate"):
        argument = base.get("learning_rate")  # which SoftAC falls back to
    if argument is None or argument == "auto":
        return parameter.default
    return parameter.read(argument, base)


def _choice_of(switch: Parameter, parameters: tuple[Parameter, ...], base: Mapping[str, Any]) -> Any:
    """:return: the choice of a switch without arguments with which the other parameters can give the base"""
    for choice in switch.choices:
        depending = [each for each in parameters if (switch.name, choice) in each.when]
        values = [_value_of(each, path, base) for each in depending for path in each.arguments]
        if all(value is not None for value in values):
            return choice
    return None
