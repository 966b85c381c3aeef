"""How transitions are collected, kept and drawn: the replay buffer, action masks, and NaN refused at the door."""

import io
import pathlib
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.type_aliases import MaybeCallback, RolloutReturn
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import VecEnv

from sac_ext import action_masks as masking
from sac_ext import finite
from sac_ext.arguments import number_between
from sac_ext.buffers import DeviceReplayBuffer
from sac_ext.buffers.memory import existing_or_auto
from sac_ext.heads import ActionHead, has_discrete_actions
from sac_ext.model_files import ModelFiles
from sac_ext.torch_settings import unvalidated_distributions

# Of the DeviceReplayBuffer, and of none of SB3's
OUR_OPTIONS = {
    "frame_stack",
    "frame_stack_axis",
    "prioritized",
    "alpha",
    "beta",
    "soft_n_steps",
    "storage_device",
    "memory_limit",
}


class Collecting(ModelFiles):
    """The part of ``SoftAC`` between the environment and the gradient step."""

    head: ActionHead
    actor: Any
    entropy_penalty: float | None
    _loaded: bool
    """Whether it comes from a file."""
    exploration_eps: Any
    _exploration_schedule: FloatSchedule
    _action_masks: np.ndarray | None = None
    """``(n_envs, S)`` of the observations to act on next, or None where there are none."""
    _masked: bool | None = None
    """Whether the environment has masks; None until it was asked, which may take a message to another process."""

    # ---------------------------------------------------------------- replay buffer

    def _prepare_replay_buffer(self) -> None:
        """Ours, unless another class was asked for; that one SB3 creates."""
        if self.replay_buffer_class is NStepReplayBuffer and self.replay_buffer_kwargs.get("n_steps") == self.n_steps:
            # SB3 chose it for n_steps when the model was set up that is now loaded
            self.replay_buffer_class = None
            chosen = {"n_steps", "gamma"}
            self.replay_buffer_kwargs = {k: v for k, v in self.replay_buffer_kwargs.items() if k not in chosen}
        if self.replay_buffer_class is None:
            self.replay_buffer_class = DeviceReplayBuffer
        if self._loaded and "storage_device" in self.replay_buffer_kwargs:
            where = existing_or_auto(str(self.replay_buffer_kwargs["storage_device"]))
            self.replay_buffer_kwargs = self.replay_buffer_kwargs | {"storage_device": where}
        foreign = sorted(OUR_OPTIONS & self.replay_buffer_kwargs.keys())
        if foreign and self.replay_buffer_class.__module__.startswith("stable_baselines3."):
            raise ValueError(
                f"replay_buffer_kwargs has {', '.join(foreign)}, which {self.replay_buffer_class.__name__} does not "
                "know: give replay_buffer_class=None for the DeviceReplayBuffer, also to load() a model of SAC's"
            )
        if not issubclass(self.replay_buffer_class, DeviceReplayBuffer):
            lacking = self._lacking(self.replay_buffer_class)
            if lacking:
                raise _lacks(lacking, self.replay_buffer_class, self.replay_buffer)
        elif self.replay_buffer is None:
            self.replay_buffer = self._new_replay_buffer(self.replay_buffer_class)

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
        """:return: what a replay buffer has to know of n-step returns"""
        asked = self.replay_buffer_kwargs.get("n_steps", self.n_steps)
        if self.n_steps not in (1, asked):
            raise ValueError(f"n_steps={self.n_steps}, but replay_buffer_kwargs has n_steps={asked}: leave one out")
        return {"n_steps": asked, "gamma": self.gamma} if asked != 1 else {}

    def load_replay_buffer(self, path: str | pathlib.Path | io.BufferedIOBase, truncate_last_traj: bool = True) -> None:
        """
        See :meth:`ModelFiles.load_replay_buffer`. Where the model has no replay buffer, the loaded one is drawn from as
        a new one would be.

        :param path: Path to the file, or a file object
        :param truncate_last_traj: Whether the last trajectory counts as cut off where the file ends
        :raises ValueError: if it is no replay buffer that this model can have
        """
        self._replace_missing_replay_buffer()
        super().load_replay_buffer(path, truncate_last_traj)

    def _replace_missing_replay_buffer(self) -> None:
        """Users may have deleted it to free memory, or set it to None to begin with an empty one."""
        if getattr(self, "replay_buffer", None) is None:
            self.replay_buffer = None
            self._prepare_replay_buffer()

    def _needed_notes(self) -> dict[str, Any]:
        """:return: what the replay buffer has to keep for this environment and these arguments, as its arguments"""
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
        A model loaded without an environment did not know of its action masks.

        :raises ValueError: where the buffer lacks what is needed and has transitions already, or is not ours
        """
        self._replace_missing_replay_buffer()
        buffer = self.replay_buffer
        lacking = self._lacking(buffer)
        if isinstance(buffer, DeviceReplayBuffer) and buffer.size() == 0 and lacking:
            self.replay_buffer = self._new_replay_buffer(type(buffer))
        elif lacking and buffer is not None:
            raise _lacks(lacking, type(buffer), buffer)

    def _lacking(self, buffer: Any) -> list[str]:
        """:return: what a replay buffer, or a class of them, would have to keep and does not"""
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
        """:raises ValueError: if the replay buffer lacks what the entropy penalty or the environment's masks need"""
        lacking = self._lacking(self.replay_buffer)
        if lacking:
            raise _lacks(lacking, type(self.replay_buffer), self.replay_buffer)

    def _batches(self, n: int, batch_size: int) -> Iterator[Any]:
        buffer, env = self.replay_buffer, self._vec_normalize_env
        assert buffer is not None
        if isinstance(buffer, DeviceReplayBuffer):
            buffer.set_progress_remaining(self._progress_remaining)
            yield from buffer.batches(n, batch_size, env)
        else:
            for _ in range(n):
                yield buffer.sample(batch_size, env=env)

    # ---------------------------------------------------------------- acting

    @staticmethod
    def _wrap_env(env: Any, verbose: int = 0, monitor_wrapper: bool = True) -> VecEnv:
        if isinstance(env, gym.Env) and has_discrete_actions(env.action_space) and masking.are_supported(env):
            env = masking.ActionMasksInInfo(env)
        return OffPolicyAlgorithm._wrap_env(env, verbose, monitor_wrapper)

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        SB3's ``predict``, with action masks as ``sb3_contrib.MaskablePPO`` takes them.

        :param observation: the input observation
        :param state: not used
        :param episode_start: not used
        :param deterministic: take the most probable action instead of drawing one
        :param action_masks: ``(S,)``, or ``(B, S)`` for a batch: which values each component may take, one component
            after the other; None for all
        :return: the actions, int64 for discrete ones, and the state
        :raises ValueError: for masks of another shape, or that leave a component no value, or on Box
        :raises TypeError: for masks that are not of bool, or 0 and 1
        """
        if action_masks is None:
            return super().predict(observation, state, episode_start, deterministic)
        if not self.head.mask_sizes:  # SB3's own policy for Box does not know the argument
            raise ValueError(f"actions of {self.action_space} cannot be masked: leave action_masks out")
        return self.policy.predict(observation, state, episode_start, deterministic, action_masks)  # type: ignore[call-arg]

    def _masks_now(self) -> np.ndarray | None:
        """:return: ``(n_envs, S)`` of the environments, or None where they have none"""
        if not self._environment_has_masks():
            return None
        assert self.env is not None
        return masking.of_environments(self.env, self.head.mask_sizes, self.action_space)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        if self._action_masks is None:
            actions, buffer_actions = super()._sample_action(learning_starts, action_noise, n_envs)
        elif self.num_timesteps < learning_starts:
            actions = buffer_actions = np.array([self._random_action(index) for index in range(n_envs)])
        else:
            assert self._last_obs is not None
            actions, _ = self.predict(self._last_obs, deterministic=False, action_masks=self._action_masks)
            buffer_actions = actions
        if self.exploration_eps != 0 and self.num_timesteps >= learning_starts:
            actions = buffer_actions = self._explored(actions)  # on discrete actions they are the same
        return actions, buffer_actions

    def _explored(self, actions: np.ndarray) -> np.ndarray:
        """:return: with some of them exchanged for random ones"""
        exploration_rate = self._exploration_schedule(self._progress_remaining)
        number_between("exploration_eps", exploration_rate, low=0, high=1)
        self.logger.record("rollout/exploration_rate", exploration_rate)
        for index in np.flatnonzero(np.random.random(len(actions)) < exploration_rate):
            actions[index] = self._random_action(int(index))
        return actions

    def _random_action(self, index: int) -> Any:
        """:return: for one of the environments, uniform on what is allowed"""
        if self._action_masks is None:
            return self.action_space.sample()
        return self.head.sample_allowed(self._action_masks[index])

    @property
    def _progress_remaining(self) -> float:
        """From 1 to 0, also where the last rollout goes beyond the number of steps asked for."""
        return max(0.0, self._current_progress_remaining)

    # ---------------------------------------------------------------- storing

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        """
        SB3's ``collect_rollouts``. Where a callback stops it, SB3 has taken a step that it does not store: what a later
        ``learn()`` would store next is no transition, so that one begins with a reset.

        :param args: of SB3's
        :param kwargs: of SB3's
        :return: how much was collected
        """
        rollout = super().collect_rollouts(*args, **kwargs)
        if not rollout.continue_training:
            self._last_obs = None
        return rollout

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        tb_log_name: str = "run",
        progress_bar: bool = False,
    ) -> tuple[int, BaseCallback]:
        self._masked = None
        self._fit_replay_buffer_to_environment()
        kept = self.optimize_memory_usage
        if isinstance(self.replay_buffer, DeviceReplayBuffer):
            if reset_num_timesteps or self._last_obs is None:  # the environment is reset
                self.replay_buffer.truncate_last_trajectory()
            self.optimize_memory_usage = False  # for which SB3 would declare the last transition a terminal one
        try:
            result = super()._setup_learn(total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar)
        finally:
            self.optimize_memory_usage = kept
        finite.check_observation(self._last_obs, "the reset of the environment")
        self._action_masks = self._masks_now()
        masking.warn_of_evaluations_without(result[1], self)
        return result

    def _store_transition(
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: np.ndarray,
        new_obs: np.ndarray | dict[str, np.ndarray],
        reward: np.ndarray,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        source = f"the environment at step {self.num_timesteps}"
        finite.check_reward(reward, source)
        finite.check_observation(new_obs, source)
        for index in np.flatnonzero(dones):
            if "terminal_observation" in infos[index]:
                finite.check_observation(infos[index]["terminal_observation"], source)
        masks = self._masks_now()  # while _action_masks are still those of the observations acted on
        if isinstance(replay_buffer, DeviceReplayBuffer):
            if replay_buffer.soft_n_steps or replay_buffer.behavior_entropy:
                replay_buffer.note(entropies=self._policy_entropies())
            if replay_buffer.action_mask_size:
                infos = self._note_masks(replay_buffer, masks, dones, infos)
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward, dones, infos)
        self._action_masks = masks

    def _note_masks(
        self,
        replay_buffer: DeviceReplayBuffer,
        masks: np.ndarray | None,
        dones: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> list[dict[str, Any]]:
        """
        :param masks: ``(n_envs, S)`` of the environments now, or None where they have none
        :return: infos, with episodes terminated whose last masks are not known
        """
        if masks is None or self._action_masks is None:
            everything = np.ones((self.n_envs, replay_buffer.action_mask_size), dtype=np.bool_)
            replay_buffer.note(action_masks=everything, next_action_masks=everything)
            return infos
        if not replay_buffer.handle_timeout_termination:  # an episode that is cut off counts as terminated
            infos = [info | {"TimeLimit.truncated": False} for info in infos]
        next_masks, infos = masking.of_next_observations(masks, dones, infos, self.head.mask_sizes, self.action_space)
        replay_buffer.note(action_masks=self._action_masks, next_action_masks=next_masks)
        return infos

    def _policy_entropies(self) -> np.ndarray:
        """:return: ``(n_envs,)`` in nats, at the observations acted on last"""
        assert self._last_obs is not None
        observations, _ = self.policy.obs_to_tensor(self._last_obs)
        masks = None if self._action_masks is None else th.as_tensor(self._action_masks, device=self.device)
        with th.no_grad(), unvalidated_distributions():
            entropies: np.ndarray = self.head.pi(self.actor, observations, masks).entropy.cpu().numpy()
        return entropies


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
