"""The replay buffer of a model: created to fit the model, its environment and its files, and drawn from."""

import inspect
import io
import pathlib
from collections.abc import Iterator
from typing import Any

from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer

from sac_ext import action_masks as masking
from sac_ext.arguments import check_names
from sac_ext.buffers import DeviceReplayBuffer
from sac_ext.buffers.memory import existing_or_auto
from sac_ext.heads import ActionHead
from sac_ext.model_files import ModelFiles


class Replay(ModelFiles):
    """The part of ``SoftAC`` that handles the replay buffer."""

    head: ActionHead
    entropy_penalty: float | None
    _loaded: bool
    """Whether the model comes from a file."""
    _masked: bool | None = None
    """Whether the environment has masks; None until it is asked, which may take a message to another process."""

    def _prepare_replay_buffer(self) -> None:
        """Create our buffer, unless another class was asked for, which SB3 creates."""
        if self.replay_buffer_class is NStepReplayBuffer and self.replay_buffer_kwargs.get("n_steps") == self.n_steps:
            # SB3 chose this class for n_steps when it set up the model that is now loaded
            self.replay_buffer_class = None
            chosen = {"n_steps", "gamma"}
            self.replay_buffer_kwargs = {k: v for k, v in self.replay_buffer_kwargs.items() if k not in chosen}
        if self.replay_buffer_class is None:
            self.replay_buffer_class = DeviceReplayBuffer
        if self._loaded and "storage_device" in self.replay_buffer_kwargs:
            where = existing_or_auto(str(self.replay_buffer_kwargs["storage_device"]))
            self.replay_buffer_kwargs = self.replay_buffer_kwargs | {"storage_device": where}
        self._check_replay_buffer_kwargs(self.replay_buffer_class)
        if not issubclass(self.replay_buffer_class, DeviceReplayBuffer):
            lacking = self._lacking(self.replay_buffer_class)
            if lacking:
                raise _lacks(lacking, self.replay_buffer_class, self.replay_buffer)
        elif self.replay_buffer is None:
            self.replay_buffer = self._new_replay_buffer(self.replay_buffer_class)

    def _check_replay_buffer_kwargs(self, buffer_class: type[ReplayBuffer]) -> None:
        accepted = inspect.signature(buffer_class).parameters
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in accepted.values()):
            return
        unknown = self.replay_buffer_kwargs.keys() - accepted.keys()
        if unknown and unknown <= inspect.signature(DeviceReplayBuffer).parameters.keys():
            raise ValueError(
                f"replay_buffer_kwargs has {', '.join(sorted(unknown))}, which {buffer_class.__name__} does not "
                "accept: pass replay_buffer_class=None for the DeviceReplayBuffer (also to load(), for a model saved "
                "by SAC)"
            )
        check_names(unknown, accepted, where=f" in replay_buffer_kwargs for {buffer_class.__name__}")

    def _new_replay_buffer(self, buffer_class: type[DeviceReplayBuffer]) -> DeviceReplayBuffer:
        return buffer_class(
            self.buffer_size,
            self.observation_space,
            self.action_space,
            device=self.device,
            n_envs=self.n_envs,
            optimize_memory_usage=self.optimize_memory_usage,
            **self._needed_notes() | self._n_step_arguments() | self.replay_buffer_kwargs,
        )

    def _n_step_arguments(self) -> dict[str, Any]:
        """:return: the replay buffer's arguments for n-step returns"""
        asked = self.replay_buffer_kwargs.get("n_steps", self.n_steps)
        if self.n_steps not in (1, asked):
            raise ValueError(f"n_steps={self.n_steps}, but replay_buffer_kwargs has n_steps={asked}: leave one out")
        return {"n_steps": asked, "gamma": self.gamma} if asked != 1 else {}

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """
        See :meth:`ModelFiles.load_replay_buffer`. If the model has no replay buffer, the loaded one is drawn from as a
        new one would be.

        :param path: Path to the file, or a file object
        :param truncate_last_traj: Whether the last trajectory counts as truncated where the file ends
        :raises ValueError: if it is not a replay buffer that this model can use
        """
        self._replace_missing_replay_buffer()
        super().load_replay_buffer(path, truncate_last_traj)

    def _replace_missing_replay_buffer(self) -> None:
        """Create one if users have deleted it to free memory, or set it to None to begin with an empty one."""
        if getattr(self, "replay_buffer", None) is None:
            self.replay_buffer = None
            self._prepare_replay_buffer()

    def _needed_notes(self) -> dict[str, Any]:
        """:return: arguments for what the replay buffer must also keep for this environment and this model"""
        return {
            "behavior_entropy": self.entropy_penalty is not None,
            "action_mask_size": sum(self.head.mask_sizes) if self._environment_has_masks() else 0,
        }

    def _environment_has_masks(self) -> bool:
        if self._masked is None and self.env is not None:
            self._masked = bool(self.head.mask_sizes) and masking.are_supported(self.env)
        return bool(self._masked)

    def _fit_replay_buffer_to_environment(self) -> None:
        """
        Replace an empty buffer that does not keep what the environment needs: a model loaded without an environment
        did not know of its action masks.

        :raises ValueError: if such a buffer already has transitions, or is not a ``DeviceReplayBuffer``
        """
        self._replace_missing_replay_buffer()
        buffer = self.replay_buffer
        lacking = self._lacking(buffer)
        if isinstance(buffer, DeviceReplayBuffer) and buffer.size() == 0 and lacking:
            self.replay_buffer = self._new_replay_buffer(type(buffer))
        elif lacking and buffer is not None:
            raise _lacks(lacking, type(buffer), buffer)

    def _lacking(self, buffer: Any) -> list[str]:
        """:return: what a replay buffer, or a class of them, would have to keep but does not"""
        return [name for name, value in self._needed_notes().items() if value and getattr(buffer, name, None) != value]

    def set_env(self, env: Any, force_reset: bool = True) -> None:
        """
        SB3's ``set_env``.

        :param env: the environment to learn in from now on
        :param force_reset: whether the next ``learn()`` begins with a reset
        """
        super().set_env(env, force_reset)
        self._masked = None

    def _check_notes_are_kept(self) -> None:
        """:raises ValueError: if the replay buffer does not keep what the entropy penalty or the action masks need"""
        lacking = self._lacking(self.replay_buffer)
        if lacking:
            raise _lacks(lacking, type(self.replay_buffer), self.replay_buffer)

    @property
    def _progress_remaining(self) -> float:
        """From 1 to 0, never below, although the last rollout may go beyond the number of steps asked for."""
        return max(0.0, self._current_progress_remaining)

    def _batches(self, n: int, batch_size: int) -> Iterator[Any]:
        buffer, env = self.replay_buffer, self._vec_normalize_env
        assert buffer is not None
        if isinstance(buffer, DeviceReplayBuffer):
            buffer.set_progress_remaining(self._progress_remaining)
            yield from buffer.batches(n, batch_size, env)
        else:
            for _ in range(n):
                yield buffer.sample(batch_size, env=env)


def _lacks(names: list[str], buffer_class: type, buffer: ReplayBuffer | None) -> ValueError:
    what = {"behavior_entropy": "the entropies that entropy_penalty needs", "action_mask_size": "action masks"}
    size = 0 if buffer is None else buffer.size()
    way_out = "only the DeviceReplayBuffer can (replay_buffer_class=None)"
    if issubclass(buffer_class, DeviceReplayBuffer):
        way_out = "start with an empty one (model.replay_buffer = None)"
    return ValueError(
        f"the replay buffer, a {buffer_class.__name__} with {size} transitions, does not keep "
        f"{' and '.join(what[name] for name in names)}: {way_out}"
    )
