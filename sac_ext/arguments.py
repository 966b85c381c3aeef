"""Checks and parsing of what users pass: numbers, choices and schedules."""

import difflib
import math
import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

LINEAR_PREFIX = "lin_"


def check_names(given: Iterable[str], known: Iterable[str], where: str = "") -> None:
    """
    :param given: names of arguments
    :param known: names of arguments that exist
    :param where: where the names were given, for the error
    :raises TypeError: for an unknown name, with the most similar known one
    """
    known = sorted(known)
    for name in given:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {nearest[0]!r}?" if nearest else ""
            raise TypeError(f"there is no argument {name!r}{where}{hint}")


def as_number(name: str, value: Any) -> float:
    """
    A finite float. Numeric strings are accepted, because YAML reads ``1e-3`` as a string.

    :param name: argument to name in errors
    :param value: what the user passed
    :return: the number
    :raises TypeError: if it is not a number
    :raises ValueError: if it is not finite, or a string that is not numeric
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real | str):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{name} must be a number, got the string {value!r}") from None
    except OverflowError:
        raise ValueError(f"{name} must be finite, got an integer too large for a float") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return number


def is_numeric(text: str) -> bool:
    """
    :param text: any string
    :return: whether it is a number, such as the string that YAML reads for ``1e-3``
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def number_between(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """
    :param name: argument to name in errors
    :param value: what the user passed
    :param low: smallest value allowed
    :param high: largest value allowed
    :return: the number
    :raises TypeError: if it is not a number
    :raises ValueError: if it is out of this range
    """
    number = as_number(name, value)
    if not low <= number <= high:
        rule = f">= {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
        raise ValueError(f"{name} must be {rule}, got {value!r}")
    return number


def positive_number(name: str, value: Any) -> float:
    """
    :param name: argument to name in errors
    :param value: what the user passed
    :return: the number
    :raises TypeError: if it is not a number
    :raises ValueError: if it is not greater than 0
    """
    number = as_number(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0, got {value!r}")
    return number


def share(name: str, value: Any) -> float:
    """
    :param name: argument to name in errors
    :param value: what the user passed
    :return: the number
    :raises TypeError: if it is not a number
    :raises ValueError: unless it is greater than 0 and at most 1
    """
    return number_between(name, positive_number(name, value), low=0, high=1)


def integer_from(name: str, value: Any, low: int) -> int:
    """
    :param name: argument to name in errors
    :param value: what the user passed
    :param low: smallest value allowed
    :return: the integer
    :raises TypeError: if it is not an integer
    :raises ValueError: if it is smaller
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be >= {low}, got {value!r}")
    return int(value)


def boolean(name: str, value: Any) -> bool:
    """
    :param name: argument to name in errors
    :param value: what the user passed
    :return: the truth value
    :raises TypeError: if it is not a bool, such as the string ``"False"``, which would count as true
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r} of type {type(value).__name__}")
    return bool(value)


def parse_schedule(name: str, value: Any) -> FloatSchedule:
    """
    :param name: argument to name in errors
    :param value: a number, ``"lin_3e-4"`` (linearly from 3e-4 to 0 over training) or a function of the progress
        remaining (1 at the start, 0 at the end)
    :return: the schedule
    :raises TypeError: for any other type
    :raises ValueError: for a negative number or a string of another form
    """
    if callable(value):
        return FloatSchedule(value)
    if isinstance(value, str) and is_numeric(value.removeprefix(LINEAR_PREFIX)):
        number = number_between(name, float(value.removeprefix(LINEAR_PREFIX)), low=0)
        if value.startswith(LINEAR_PREFIX):
            return FloatSchedule(LinearSchedule(number, end=0.0, end_fraction=1.0))
        return FloatSchedule(number)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        error = ValueError if isinstance(value, str) else TypeError
        raise error(f"{name} must be a number, 'lin_<number>' or a function of the progress remaining, got {value!r}")
    return FloatSchedule(number_between(name, value, low=0))


def evaluate_schedule(name: str, schedule: Schedule, progress_remaining: float) -> float:
    """
    The value of a schedule, checked because a user's function may leave the allowed range in the middle of a run.

    :param name: argument to name in errors
    :param schedule: returned by :func:`parse_schedule`
    :param progress_remaining: from 1 to 0
    :return: its value
    :raises TypeError: if it does not return a number
    :raises ValueError: if it is negative or not finite
    """
    where = f"{name} (at progress_remaining={progress_remaining:g})"
    try:
        value = schedule(progress_remaining)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where} must be a number, but its schedule failed: {error}") from error
    return number_between(where, value, low=0)


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """
    :param name: argument to name in errors
    :param value: what the user passed
    :param allowed: the values it may have
    :return: the value
    :raises ValueError: for any other
    """
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return value
