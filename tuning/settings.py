"""The settings of a study, recorded in the study itself, so that every process that joins it later does the same."""

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import optuna

import sac_ext

from .entries import arguments_of
from .environments import EnvironmentSpec
from .evaluate import SEEDING, Protocol
from .parameters import Space
from .space import parse_space

SAMPLERS = ("tpe", "gp", "random")
PRUNERS = ("median", "hyperband", "wilcoxon", "none")
WILCOXON_SEEDS = 5
"""With fewer, no difference between seeds is significant, and nothing would ever be pruned."""
_SETTINGS, VERSIONS = "settings", "versions"
_PACKAGES = ("sac-ext", "stable-baselines3", "sb3-contrib", "torch", "gymnasium", "numpy", "optuna")


@dataclass(frozen=True)
class Settings:
    """
    Everything that a trial's score depends on, apart from its parameters.

    :param env: environment to train in
    :param entry: the zoo entry that the study starts from, with the changes that were asked for
    :param space: search space, as in a YAML file
    :param tune: optional parameters of the space that are tuned
    :param seeds: seeds of the training runs of each trial
    :param protocol: how long a run is, and how it is measured
    :param sampler: ``"tpe"``, ``"gp"`` or ``"random"``
    :param sampler_seed: seed of the sampler
    :param pruner: ``"median"`` and ``"hyperband"`` judge the learning curve of the first seed, ``"wilcoxon"`` the
        seeds' scores
    :raises ValueError: for values that do not exist, or do not go together
    """

    env: EnvironmentSpec
    entry: dict[str, Any]
    space: dict[str, Any]
    tune: list[str]
    seeds: list[int]
    protocol: Protocol
    sampler: str = "tpe"
    sampler_seed: int = 0
    pruner: str = "median"
    space_source: str = field(default="the study's space", compare=False)

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, got {self.sampler!r}")
        if self.pruner not in PRUNERS:
            raise ValueError(f"pruner must be one of {', '.join(PRUNERS)}, got {self.pruner!r}")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be one or more different numbers, got {self.seeds}")
        if self.pruner == "wilcoxon" and len(self.seeds) < WILCOXON_SEEDS:
            raise ValueError(
                f"pruner 'wilcoxon' compares the scores of seeds and needs at least {WILCOXON_SEEDS} of them, got "
                f"{len(self.seeds)}; 'median' and 'hyperband' judge learning curves"
            )
        self.parsed_space()
        _check_json("the settings", asdict(self))

    def parsed_space(self) -> Space:
        """:return: the space, with the optional parameters that were asked for"""
        return parse_space(self.space, self.space_source, self.tune)

    def base(self) -> dict[str, Any]:
        """:return: arguments of SoftAC that the study starts from"""
        return arguments_of(self.entry)

    def differences(self, other: "Settings") -> list[str]:
        """
        Compare the settings of a study with those of another call.

        :param other: settings that were asked for later
        :return: a line for each difference
        """
        mine, others = (_flat(json.loads(json.dumps(each.to_dict()))) for each in (self, other))
        names = [name for name in {**mine, **others} if mine.get(name) != others.get(name)]
        return [f"{name}: {mine.get(name)!r} in the study, {others.get(name)!r} asked for" for name in names]

    def to_dict(self) -> dict[str, Any]:
        """:return: the settings as plain values, for JSON"""
        content = asdict(self)
        del content["space_source"]
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Settings":
        """:return: the settings that :meth:`to_dict` was called on"""
        env, protocol = EnvironmentSpec(**content["env"]), Protocol(**content["protocol"])
        return cls(**{**content, "env": env, "protocol": protocol})

    def record(self, study: optuna.Study) -> None:
        """Record the settings, and the versions that they are first used with."""
        study.set_user_attr(VERSIONS, versions())
        study.set_user_attr(_SETTINGS, json.dumps(self.to_dict()))


def settings_of(study: optuna.Study) -> Settings:
    """
    Read the settings that are recorded in a study.

    :param study: made by ``softac-tune tune``
    :return: its settings
    :raises ValueError: if it has none
    """
    text = study.user_attrs.get(_SETTINGS)
    if text is None:
        raise ValueError(
            f"Study {study.study_name!r} has no settings of softac-tune: another program created it, or `tune` was "
            "killed while creating it. Choose another --study, or delete this one"
        )
    return Settings.from_dict(json.loads(text))


def has_settings(study: optuna.Study) -> bool:
    """:return: whether the study has been set up completely"""
    return _SETTINGS in study.user_attrs


def versions() -> dict[str, str]:
    """
    Find out what the scores depend on besides the settings.

    :return: versions of Python and the packages, the revision of the code if it is a checkout, the hardware, and
        ``seeding``, the number of the rule by which the seeds of environments follow from that of a run
    """
    import torch

    found = {"python": platform.python_version(), "machine": platform.machine(), "processor": _processor()}
    found["seeding"] = str(SEEDING)
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    git = ["git", "describe", "--always", "--dirty"]
    folder = Path(sac_ext.__file__).parent
    if (folder.parent / ".git").exists():
        try:
            result = subprocess.run(git, cwd=folder, capture_output=True, text=True, check=True)
            found["revision"] = result.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass
    return found


def _check_json(where: str, value: Any) -> None:
    """:raises ValueError: for values that would change when they are recorded"""
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where}: {key!r} must be a string to be recorded; write '{key}'")
            _check_json(f"{where}: {key}", each)
    elif isinstance(value, list | tuple):
        for each in value:
            _check_json(where, each)
    elif not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"{where}: {value!r} of type {type(value).__name__} cannot be recorded in a study")


def _processor() -> str:
    """:return: name of the CPU"""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """:return: the values of nested dicts by their paths, such as ``protocol.steps``"""
    if not isinstance(content, dict) or not content:
        return {prefix: content}
    return {
        name: value
        for key, each in content.items()
        for name, value in _flat(each, f"{prefix}.{key}" if prefix else str(key)).items()
    }
