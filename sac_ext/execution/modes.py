"""The modes by their names."""

from collections.abc import Callable

from sac_ext.arguments import choice
from sac_ext.execution.eager import Eager
from sac_ext.update import SoftUpdate


def compiled(update: SoftUpdate) -> Eager:
    """See :class:`~sac_ext.execution.compiled.Compiled`."""
    from sac_ext.execution.compiled import Compiled  # importing torch's compiler takes a second

    return Compiled(update)


def captured(update: SoftUpdate) -> Eager:
    """See :class:`~sac_ext.execution.captured.Captured`."""
    from sac_ext.execution.captured import Captured

    return Captured(update)


MODES: dict[str, Callable[[SoftUpdate], Eager]] = {
    "auto": Eager,
    "eager": Eager,
    "compile": compiled,
    "cuda_graph": captured,
}


def execution_mode(name: str) -> Callable[[SoftUpdate], Eager]:
    """
    :param name: ``"eager"``, ``"compile"``, ``"cuda_graph"``, or ``"auto"`` for the fastest mode known to match eager
    :return: turns a gradient step into one that runs in this mode
    :raises ValueError: for any other name
    """
    return MODES[choice("execution", name, tuple(MODES))]
