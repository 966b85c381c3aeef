"""How a gradient step runs. A mode takes the step and returns a callable that does the same; it holds no formula."""

from collections.abc import Callable

from sac_ext.update import SoftUpdate

Mode = Callable[[SoftUpdate], SoftUpdate]


def eager(step: SoftUpdate) -> SoftUpdate:
    """Operation by operation, as written."""
    return step


MODES: dict[str, Mode] = {"auto": eager, "eager": eager}


def execution_mode(name: str) -> Mode:
    """
    :param name: ``"eager"``, or ``"auto"`` for the fastest mode known to match it
    :raises ValueError: for any other name
    """
    if not isinstance(name, str) or name not in MODES:
        raise ValueError(f"execution must be one of {', '.join(map(repr, MODES))}, got {name!r}")
    return MODES[name]
