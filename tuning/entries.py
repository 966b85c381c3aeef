"""Entries of rl-baselines3-zoo's configuration files: where a study starts, and how its best trial is written."""

import copy
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
import yaml
from stable_baselines3 import HerReplayBuffer

ENVIRONMENT_KEYS = (
    "n_envs",
    "normalize",
    "env_wrapper",
    "vec_env_wrapper",
    "frame_stack",
    "monitor_kwargs",
    "env_kwargs",
)
NOISE_KEYS = ("noise_type", "noise_std")
ZOO_KEYS = (*ENVIRONMENT_KEYS, *NOISE_KEYS, "n_timesteps", "callback")
"""Keys of an entry that are not arguments of the algorithm."""
_EVALUATED = ("policy_kwargs", "replay_buffer_kwargs", "monitor_kwargs")


def our_config() -> Path:
    """:return: the configurations that ship with this package"""
    return Path(str(files("sac_ext.zoo_configs") / "softac.yml"))


def load_entry(config: Path, env_id: str) -> dict[str, Any]:
    """
    Look up the entry for an environment in a configuration file.

    :param config: YAML file that maps environments to entries
    :param env_id: environment; if the file does not name it, its entry is ``atari`` for Atari games, else ``default``
    :return: the entry as it is written
    :raises ValueError: if the file is missing, is not such a YAML file, or has no entry for the environment
    """
    if not config.is_file():
        raise ValueError(f"There is no configuration file {str(config)!r}; pass another --conf-file")
    try:
        content = yaml.safe_load(config.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{config} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{config} must map environments to their entries, got {content!r}")
    fallback = content.get("atari") if is_atari(env_id) else None
    entry = content.get(env_id, fallback or content.get("default"))
    if not isinstance(entry, dict):
        raise ValueError(f"{config} has neither an entry for {env_id} nor a default")
    return dict(entry)


def is_atari(env_id: str) -> bool:
    """:return: whether this is an Atari game; configuration files have one entry for all of them"""
    return env_id in gym.registry and "AtariEnv" in str(gym.registry[env_id].entry_point)


def arguments_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """
    Turn an entry into arguments of SoftAC, without the keys for the environment and the zoo.

    :param entry: as it is written
    :return: arguments of SoftAC; what YAML can only write as a string is turned into Python objects
    :raises ValueError: for action noise, which only the zoo can make
    """
    noise = [key for key in NOISE_KEYS if key in entry]
    if noise:
        raise ValueError(f"{' and '.join(noise)} of an entry work in `softac-zoo train` only: leave them out")
    # copies, because SB3 writes into policy_kwargs
    arguments = {key: copy.deepcopy(value) for key, value in entry.items() if key not in ZOO_KEYS}
    for key in _EVALUATED:
        if isinstance(arguments.get(key), str):
            arguments[key] = evaluated(key, arguments[key])
    if isinstance(arguments.get("replay_buffer_class"), str):
        arguments["replay_buffer_class"] = replay_buffer_class(arguments["replay_buffer_class"])
    if isinstance(arguments.get("train_freq"), list):  # such as [1, episode]
        arguments["train_freq"] = tuple(arguments["train_freq"])
    return {"policy": "MlpPolicy"} | arguments


def replay_buffer_class(name: str) -> Any:
    """
    :param name: name as in an entry: ``HerReplayBuffer``, or with its module, ``sac_ext.DeviceReplayBuffer``
    :return: the class
    :raises ValueError: if there is no such class
    """
    if "." not in name:
        return evaluated("replay_buffer_class", name)
    from rl_zoo3.utils import get_class_by_name

    try:
        return get_class_by_name(name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"replay_buffer_class: there is no {name!r} ({error})") from error


def evaluated(key: str, text: str) -> Any:
    """
    Evaluate a string of an entry that is a Python expression.

    :param key: key to name in errors
    :param text: Python expression, as entries use for dicts of objects
    :return: its value; in it ``torch`` and ``th`` are torch, ``nn`` is torch.nn, and ``HerReplayBuffer`` is SB3's
    """
    try:
        return eval(text, {"nn": torch.nn, "th": torch, "torch": torch, "HerReplayBuffer": HerReplayBuffer})
    except Exception as error:
        raise ValueError(f"{key} cannot be evaluated as a Python expression: {text!r} ({error})") from error


def write_entry(entry: Mapping[str, Any], env_id: str, comment: str = "") -> str:
    """
    Write an entry so that rl-baselines3-zoo reads the same values back.

    :param entry: keys and plain values; ``policy_kwargs`` and other dicts of arguments are written as the zoo reads
        them
    :param env_id: environment of the entry
    :param comment: lines to put above the entry
    :return: YAML text
    """
    plain = {key: _plain(value) for key, value in entry.items()}
    for key in _EVALUATED:
        if isinstance(plain.get(key), dict):
            plain[key] = "dict(" + ", ".join(f"{name}={_python(value)}" for name, value in plain[key].items()) + ")"
    lines = "".join(f"# {line}\n" for line in comment.splitlines())
    return lines + str(yaml.safe_dump({env_id: plain}, sort_keys=False))


def _python(value: Any) -> str:
    """:return: a Python expression for the value, with no names but ``nn`` and ``th``, which the zoo knows"""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {_python(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_python, value)) + "]"
    if isinstance(value, type):
        name = value.__name__
        if getattr(torch.nn, name, None) is value:
            return f"nn.{name}"
        if value.__module__.startswith("torch."):
            return f"th.{value.__module__.removeprefix('torch.')}.{value.__qualname__}"
        raise ValueError(f"{value} cannot be written to a zoo entry, where only classes of torch can be named")
    return repr(value)


def _plain(value: Any) -> Any:
    """Convert numpy's types, which YAML would not write in a readable form, to Python's own."""
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value
