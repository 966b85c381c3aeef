"""Environments of other packages: made known to gymnasium, or refused with the package that is missing."""

import argparse
import contextlib
import difflib
import re
from collections.abc import Iterable, Sequence

import gymnasium as gym

from sac_ext.zoo.running import needs

_ENV_ID = re.compile(r"[\w/]+-v\d+")
# By what names of environments start with, where the package is what registers them
_REGISTERED_BY = {"MinAtar/": "minatar", "ALE/": "ale_py", "Fetch": "gymnasium_robotics"}
# By what entry points of gymnasium's own start with
_NEEDED_BY = {"gymnasium.envs.box2d": "Box2D", "gymnasium.envs.mujoco": "mujoco"}


def named_in(options: Sequence[str]) -> list[str]:
    """:return: what the options of a command name as its environments"""
    return _values(options, "-e", "--env")


def others_are_registered(options: Sequence[str]) -> bool:
    """:return: whether the options of a command name packages that register environments of their own"""
    return bool(_values(options, "--gym-packages"))


def _values(options: Sequence[str], *names: str) -> list[str]:
    """:return: of one option, which may have several"""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*names, dest="values", nargs="*", default=[])
    return list(parser.parse_known_args(options)[0].values)


def register(asked_for: Iterable[str]) -> None:
    """
    Make MinAtar's environments known to gymnasium, and gymnasium-robotics', which take a while to import and print a
    notice, if one is asked for that is not known otherwise.

    :param asked_for: names of environments
    """
    with contextlib.suppress(ImportError):
        import minatar.gym

        if "MinAtar/Breakout-v1" not in gym.registry:
            minatar.gym.register_envs()
    if any(_ENV_ID.fullmatch(name) and name not in gym.registry for name in asked_for):
        with contextlib.suppress(ImportError):
            import gymnasium_robotics

            gym.register_envs(gymnasium_robotics)


def check(name: str) -> None:
    """
    :param name: of an environment
    :raises SystemExit: in one line, if the package it comes from is missing, or nothing has such a name
    """
    known = gym.registry.get(name)
    where, packages = (name, _REGISTERED_BY) if known is None else (str(known.entry_point), _NEEDED_BY)
    for start, package in packages.items():
        if where.startswith(start):
            needs("envs", package)
    if known is None:
        close = difflib.get_close_matches(name, gym.registry, n=1)
        hint = f"did you mean {close[0]}?" if close else "name the package that registers it by --gym-packages"
        raise SystemExit(f"gymnasium knows no environment {name!r}: {hint}")
