"""What users pass, checked and parsed: numbers, choices and schedules."""

import math
import numbers
from typing import Any

from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.utils import FloatSchedule, LinearSchedule

LINEAR_PREFIX = "lin_"


def as_number(name: str, value: Any) -> float:
    """
    A finite float. Numeric strings count, because YAML reads ``1e-3`` as a string.

    :param name: argument to name in errors
    :param value: what the user passed
    :raises TypeError: if it is not a number
    :raises ValueError: if it is not finite, or a string that is not numeric
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real | str):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{name} must be a number, got the string {value!r}") from None
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {value!r}")
    return number


def is_numeric(text: str) -> bool:
    """
    :param text: any string
    :return: whether it is a number, as YAML gives for ``1e-3``
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
    :raises ValueError: if it lies outside
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
    :raises ValueError: if it is not greater than 0
    """
    number = as_number(name, value)
    if number <= 0:
        raise ValueError(f"{name} must be greater than 0, got {value!r}")
    return number


def integer_from(name: str, value: Any, low: int) -> int:
    """
    :param name: argument to name in errors
    :param value: what the user passed
    :param low: smallest value allowed
    :raises TypeError: if it is not an integer
    :raises ValueError: if it is smaller
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be an integer, got {value!r} of type {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be >= {low}, got {value!r}")
    return int(value)


def parse_schedule(name: str, value: Any) -> FloatSchedule:
    """
    :param name: argument to name in errors
    :param value: a number, ``"lin_3e-4"`` (from 3e-4 down to 0 over training) or a function of the progress remaining
        (1 at the start, 0 at the end)
    :raises TypeError: for any other type
    :raises ValueError: for a negative number or a string of another form
    """
    if callable(value):
        return FloatSchedule(value)
    if isinstance(value, str) and value.startswith(LINEAR_PREFIX):
        start = number_between(name, value.removeprefix(LINEAR_PREFIX), low=0)
        return FloatSchedule(LinearSchedule(start, end=0.0, end_fraction=1.0))
    if isinstance(value, str) and not is_numeric(value):
        raise ValueError(f"{name} must be a number, 'lin_<number>' or a function of progress, got {value!r}")
    return FloatSchedule(number_between(name, value, low=0))


def evaluate_schedule(name: str, schedule: Schedule, progress_remaining: float) -> float:
    """
    The value of a schedule, refused when a user's function leaves the allowed range in the middle of a run.

    :param name: argument to name in errors
    :param schedule: what :func:`parse_schedule` made
    :param progress_remaining: from 1 to 0
    :raises ValueError: if it is negative or not finite
    """
    return number_between(f"{name} (at progress_remaining={progress_remaining:g})", schedule(progress_remaining), low=0)


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """
    :param name: argument to name in errors
    :param value: what the user passed
    :param allowed: the values it may have
    :raises ValueError: for any other
    """
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return str(value)
