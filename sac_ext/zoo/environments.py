"""Environments of other packages: made known to gymnasium, or refused with the package that is missing."""

import contextlib
import difflib
import importlib
import re
from collections.abc import Iterable

import gymnasium as gym

from sac_ext.zoo.running import needs

_OF_ROBOTICS = "Fetch|HandReach|HandManipulate|AdroitHand|PointMaze|AntMaze|FrankaKitchen"
# What names of environments look like, by the packages that register them
_REGISTERED_BY = {
    r"MinAtar/": ["minatar"],
    r"ALE/|.*NoFrameskip-v\d": ["ale_py"],
    _OF_ROBOTICS: ["gymnasium_robotics", "mujoco"],
}
# What entry points look like, by the packages that they need
_NEEDED_BY = {r"gymnasium\.envs\.box2d": ["Box2D"], r"gymnasium\.envs\.mujoco|gymnasium_robotics": ["mujoco"]}


def register(asked_for: Iterable[str] = ()) -> None:
    """
    Make known to gymnasium what the zoo knows (Atari's games among them), MinAtar's environments, and, if one is asked
    for, gymnasium-robotics', which take a while to import and print a notice.

    :param asked_for: names of environments
    """
    import rl_zoo3.import_envs  # noqa: F401

    with contextlib.suppress(ImportError):
        import minatar.gym

        if "MinAtar/Breakout-v1" not in gym.registry:
            minatar.gym.register_envs()
    if any(re.match(_OF_ROBOTICS, name) and name not in gym.registry for name in asked_for):
        with contextlib.suppress(ImportError):
            import gymnasium_robotics

            gym.register_envs(gymnasium_robotics)


def import_packages(names: Iterable[str]) -> None:
    """
    :param names: of packages that register environments of their own
    :raises SystemExit: in one line, if one cannot be imported
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise SystemExit(f"--gym-packages {name} cannot be imported: {error}") from error


def check(name: str) -> None:
    """
    :param name: of an environment
    :raises SystemExit: in one line, if a package it comes from is missing, or nothing has such a name
    """
    known = gym.registry.get(name)
    where, packages = (name, _REGISTERED_BY) if known is None else (str(known.entry_point), _NEEDED_BY)
    for pattern, modules in packages.items():
        if re.match(pattern, where):
            needs("envs", *modules)
    if known is None:
        close = difflib.get_close_matches(name, gym.registry, n=1)
        hint = f"did you mean {close[0]}?" if close else "name the package that registers it by --gym-packages"
        raise SystemExit(f"gymnasium knows no environment {name!r}: {hint}")
