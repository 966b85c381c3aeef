"""Files of a model: what is saved and how it is loaded, in SB3's format, and files of its replay buffer."""

import io
import pathlib
import pickle
import warnings
from collections.abc import Iterable
from typing import Any

import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from sac_ext import finite
from sac_ext.buffers import DeviceReplayBuffer
from sac_ext.buffers.files import SUFFIX, is_device_replay_buffer

# Arguments of a loaded replay buffer that are the model's, not the file's: where it is stored and how it is drawn from
NOT_THE_FILES = ("storage_device", "memory_limit", "n_steps", "gamma", "soft_n_steps", "prioritized", "alpha", "beta")

# Attributes that _setup_model creates from the arguments: never saved, created again on load
RESOLVED = (
    "actor",
    "critic",
    "critic_target",
    "head",
    "temperature",
    "batch_norm_stats",
    "batch_norm_stats_target",
    "_separate_lr_schedules",
    "_exploration_schedule",
    "_loaded",
    "_update",
    "_run_step",
    "_execution_in_use",
    "_action_masks",
    "_masked",
    "_log_bounds",
    "_component_maxima",
    "_target_entropy",
)


class ModelFiles(OffPolicyAlgorithm):
    """The part of ``SoftAC`` that saves and loads."""

    head: Any
    temperature: Any
    target_entropy: Any
    _entropy_target_state: dict[str, Any]
    _saved_for_auto: float | None = None
    """In a file, the target entropy that was saved in place of "auto"."""
    log_ent_coef: th.Tensor | None
    ent_coef_optimizer: th.optim.Optimizer | None

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), *RESOLVED]

    def save(
        self,
        path: str | pathlib.Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """
        Save all the attributes of the object and the model parameters in a zip-file, as SB3 does.
        ``stable_baselines3.SAC.load`` reads it if actions are Box, the arguments that SAC lacks have their defaults,
        and the others have forms that SAC accepts.

        :param path: path to the file where the rl agent should be saved
        :param exclude: name of parameters that should be excluded in addition to the default ones
        :param include: name of parameters that might be excluded but should be included anyway
        """
        passed = {"target_entropy": self.target_entropy, "replay_buffer_class": self.replay_buffer_class}
        self._entropy_target_state = self.temperature.state_of(self.target_entropy)
        default = self.head.defaults.target_entropy
        if self.target_entropy == "auto" and not isinstance(default, str):
            self.target_entropy = default  # SAC would ask its environment what "auto" means, and fail without one
            self._saved_for_auto = default
        if self.replay_buffer_class is DeviceReplayBuffer:  # with None, SAC and SoftAC each use their own
            self.replay_buffer_class = None
        try:
            super().save(path, exclude, include)
        finally:
            self.__dict__.update(passed)
            self._saved_for_auto = None

    def _restore_target_entropy(self) -> None:
        """Restore ``"auto"`` where the file has a number in its place, unless that has been changed since."""
        if self._saved_for_auto is not None and self._saved_for_auto == self.target_entropy:
            self.target_entropy = "auto"
        self._saved_for_auto = None

    def save_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase) -> None:
        """
        Save the replay buffer: a ``DeviceReplayBuffer`` as safetensors with JSON in the header instead of a pickle, any
        other as SB3 does.

        :param path: Path to the file, or a file object. A path without suffix gets ``.safetensors`` (``.pkl`` for SB3's
            buffers)
        :raises ValueError: if there is no replay buffer
        """
        if getattr(self, "replay_buffer", None) is None:  # users may have deleted it to free memory
            raise ValueError("there is no replay buffer to save: it was deleted, or set to None")
        if not isinstance(self.replay_buffer, DeviceReplayBuffer):
            super().save_replay_buffer(path)
            return
        if isinstance(path, str | pathlib.Path) and not pathlib.Path(path).suffix:
            path = f"{path}{SUFFIX}"
        self.replay_buffer.save(path)
        if self.verbose >= 2:
            print(f"Saved the replay buffer to {path}")

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """
        Load a replay buffer that ``save_replay_buffer`` wrote, or a pickle of SB3's; the content decides, not the
        suffix. If loading fails, the model keeps the buffer it had. Where a ``DeviceReplayBuffer`` is stored and how it
        is drawn from are the model's settings (``n_steps``, ``replay_buffer_kwargs``), the rest is the file's. A pickle
        of one of SB3's buffers gives that buffer, with a warning if its ``n_steps`` is not the model's, or the model's
        buffer was prioritised.

        :param path: Path to the file (without suffix: ``.safetensors``, or else ``.pkl``), or a file object
        :param truncate_last_traj: Whether the last trajectory counts as truncated where the file ends; with a pickle of
            SB3's buffers, for ``HerReplayBuffer`` only
        :raises ValueError: if the file is not a replay buffer or not whole, contains NaN, or has transitions of another
            number of environments or of other spaces than the model's
        """
        if isinstance(path, str | pathlib.Path):
            path = _existing(pathlib.Path(path))
        before = getattr(self, "replay_buffer", None)  # users may have deleted it to free memory
        try:
            if is_device_replay_buffer(path):
                self._load_device_replay_buffer(path, truncate_last_traj)
            else:
                self._load_pickled_replay_buffer(path, truncate_last_traj)
        except BaseException:
            self.replay_buffer = before
            raise

    def _load_device_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate: bool) -> None:
        before, buffer_class, options = getattr(self, "replay_buffer", None), DeviceReplayBuffer, {}
        if isinstance(before, DeviceReplayBuffer):
            buffer_class, options = type(before), {name: getattr(before, name) for name in NOT_THE_FILES}
        buffer = buffer_class.load(
            path, self.observation_space, self.action_space, device=self.device, n_envs=self.n_envs, **options
        )
        if truncate:
            buffer.truncate_last_trajectory()
        finite.check_buffer(buffer.storage.observed(), buffer.rewards[: buffer.size()])
        self.replay_buffer = buffer

    def _load_pickled_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate: bool) -> None:
        before = getattr(self, "replay_buffer", None)
        try:
            if isinstance(path, str | pathlib.Path):
                with open(path, "rb") as file:  # SB3 would leave it open if this fails
                    super().load_replay_buffer(file, truncate)
            else:
                super().load_replay_buffer(path, truncate)
        except (pickle.UnpicklingError, EOFError) as error:
            raise ValueError(
                f"{path} is not a replay buffer: neither a file of DeviceReplayBuffer.save nor a pickle: {error}"
            ) from error
        except AssertionError as error:  # raised by SB3
            raise ValueError(f"{path} is not a replay buffer that this model can use: {error}") from error
        buffer = self.replay_buffer
        assert buffer is not None
        if isinstance(buffer, DeviceReplayBuffer):  # SB3's algorithms pickle it
            copy = io.BytesIO()
            buffer.save(copy)
            copy.seek(0)
            self.replay_buffer = before
            self._load_device_replay_buffer(copy, truncate)
            return
        if buffer.n_envs != self.n_envs:
            raise ValueError(
                f"{path} holds transitions of {buffer.n_envs} environments, but n_envs={self.n_envs}: continue "
                f"with n_envs={buffer.n_envs}"
            )
        for name in ("observation_space", "action_space"):
            theirs, ours = getattr(buffer, name), getattr(self, name)
            if theirs != ours:
                raise ValueError(f"{path} holds transitions of {name} {theirs}, but the model's is {ours}")
        _check_sb3s(buffer)
        n_steps, prioritized = getattr(buffer, "n_steps", 1), getattr(before, "prioritized", False)
        if n_steps != self.n_steps or prioritized:
            warnings.warn(
                f"the loaded replay buffer is SB3's {type(buffer).__name__}: it samples returns of {n_steps} "
                f"steps (the model's n_steps is {self.n_steps}), without priorities (the previous replay buffer had "
                f"prioritized={prioritized})",
                stacklevel=3,
            )

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        state_dicts = ["policy", "actor.optimizer", "critic.optimizer"]
        if self.ent_coef_optimizer is not None:
            return [*state_dicts, "ent_coef_optimizer"], ["log_ent_coef"]
        return state_dicts, ["ent_coef_tensor"]


def _check_sb3s(buffer: ReplayBuffer) -> None:
    """Refuse NaN; a buffer that keeps its transitions under other names is not checked."""
    filled, observations = buffer.size(), []
    for name in ("observations", "next_observations"):
        stored = getattr(buffer, name, None)
        if isinstance(stored, dict):
            observations.append({key: array[:filled] for key, array in stored.items()})
        elif stored is not None:
            observations.append(stored[:filled])
    rewards = getattr(buffer, "rewards", None)
    finite.check_buffer(observations, None if rewards is None else rewards[:filled])


def _existing(path: pathlib.Path) -> pathlib.Path:
    """:return: the path; one without suffix gets the suffix with which the file exists"""
    if not path.suffix:
        for candidate in (path.with_name(path.name + suffix) for suffix in (SUFFIX, ".pkl")):
            if candidate.exists():
                return candidate
    return path
