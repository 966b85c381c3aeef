"""Environments of other packages: registered with gymnasium, or refused, naming the missing package."""

import contextlib
import difflib
import importlib
import re
from collections.abc import Iterable

import gymnasium as gym

from sac_ext.zoo.running import needs

_OF_ROBOTICS = "Fetch|HandReach|HandManipulate|AdroitHand|PointMaze|AntMaze|FrankaKitchen"
# Patterns of environment names, with the packages that register them
_REGISTERED_BY = {
    r"MinAtar/": ["minatar"],
    r"ALE/|.*NoFrameskip-v\d": ["ale_py"],
    _OF_ROBOTICS: ["gymnasium_robotics", "mujoco"],
}
# Patterns of entry points, with the packages that they need
_NEEDED_BY = {r"gymnasium\.envs\.box2d": ["Box2D"], r"gymnasium\.envs\.mujoco|gymnasium_robotics": ["mujoco"]}


def register(asked_for: Iterable[str] = ()) -> None:
    """
    Register with gymnasium the environments that the zoo registers (Atari games among them), MinAtar's, and, if one of
    them is asked for, gymnasium-robotics', which take a while to import and print a notice.

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
    :param names: names of packages that register environments of their own
    :raises SystemExit: with a one-line message, if one cannot be imported
    """
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise SystemExit(f"--gym-packages {name} cannot be imported: {error}") from error


def check(name: str) -> None:
    """
    :param name: name of an environment
    :raises SystemExit: with a one-line message, if a package that it needs is missing, or there is no such environment
    """
    known = gym.registry.get(name)
    where, packages = (name, _REGISTERED_BY) if known is None else (str(known.entry_point), _NEEDED_BY)
    for pattern, modules in packages.items():
        if re.match(pattern, where):
            needs("envs", *modules)
    if known is None:
        close = difflib.get_close_matches(name, gym.registry, n=1)
        hint = f"did you mean {close[0]}?" if close else "name the package that registers it with --gym-packages"
        raise SystemExit(f"gymnasium does not know the environment {name!r}: {hint}")
