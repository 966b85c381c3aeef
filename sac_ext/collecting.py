"""How transitions are collected: acting with action masks, storing, and refusing NaN from the environment."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
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
from sac_ext.heads import has_discrete_actions
from sac_ext.replay import Replay
from sac_ext.torch_settings import unvalidated_distributions


class Collecting(Replay):
    """The part of ``SoftAC`` between the environment and the replay buffer."""

    actor: Any
    exploration_eps: Any
    _exploration_schedule: FloatSchedule
    _action_masks: np.ndarray | None = None
    """``(n_envs, S)`` masks of the observations to act on next, or None without masks."""

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
        SB3's ``predict``, with action masks as ``sb3_contrib.MaskablePPO`` accepts them.

        :param observation: the input observation
        :param state: not used
        :param episode_start: not used
        :param deterministic: take the most probable action instead of sampling one
        :param action_masks: ``(S,)``, or ``(B, S)`` for a batch: which values each component may take, one component
            after the other; None for all
        :return: the actions, int64 for discrete ones, and the state
        :raises ValueError: for masks of a wrong shape, that leave some component no value, or on Box
        :raises TypeError: for masks that are neither of bool nor of integers
        """
        if action_masks is None:
            return super().predict(observation, state, episode_start, deterministic)
        if not self.head.mask_sizes:  # SB3's own policy for Box does not know the argument
            raise ValueError(f"actions of {self.action_space} cannot be masked: leave action_masks out")
        return self.policy.predict(observation, state, episode_start, deterministic, action_masks)  # type: ignore[call-arg]

    def _masks_now(self) -> np.ndarray | None:
        """:return: ``(n_envs, S)`` current masks of the environments, or None if they have none"""
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
        """:return: the actions, some of them replaced by random ones"""
        exploration_rate = self._exploration_schedule(self._progress_remaining)
        number_between("exploration_eps", exploration_rate, low=0, high=1)
        self.logger.record("rollout/exploration_rate", exploration_rate)
        for index in np.flatnonzero(np.random.random(len(actions)) < exploration_rate):
            actions[index] = self._random_action(int(index))
        return actions

    def _random_action(self, index: int) -> Any:
        """:return: an action for one of the environments, uniform over those allowed"""
        if self._action_masks is None:
            return self.action_space.sample()
        return self.head.sample_allowed(self._action_masks[index])

    # ---------------------------------------------------------------- storing

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> RolloutReturn:
        """
        SB3's ``collect_rollouts``. When a callback stops it, SB3 has taken a step that it does not store, so what the
        next ``learn()`` would store first is not a transition: that ``learn()`` therefore begins with a reset.

        :param args: those of SB3's method
        :param kwargs: those of SB3's method
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
            self.optimize_memory_usage = False  # with it, SB3 would mark the last transition as terminal
        try:
            total_timesteps, callback = super()._setup_learn(
                total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
            )
        finally:
            self.optimize_memory_usage = kept
        finite.check_observation(self._last_obs, "the reset of the environment")
        self._action_masks = self._masks_now()
        masking.warn_of_evaluations_without(callback, self)
        return total_timesteps, callback

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
        :param masks: ``(n_envs, S)`` current masks of the environments, or None if they have none
        :return: infos, in which truncated episodes whose last masks are not known count as terminated
        """
        if masks is None or self._action_masks is None:
            everything = np.ones((self.n_envs, replay_buffer.action_mask_size), dtype=np.bool_)
            replay_buffer.note(action_masks=everything, next_action_masks=everything)
            return infos
        if not replay_buffer.handle_timeout_termination:  # a truncated episode counts as terminated
            infos = [info | {"TimeLimit.truncated": False} for info in infos]
        next_masks, infos = masking.of_next_observations(masks, dones, infos, self.head.mask_sizes, self.action_space)
        replay_buffer.note(action_masks=self._action_masks, next_action_masks=next_masks)
        return infos

    def _policy_entropies(self) -> np.ndarray:
        """:return: ``(n_envs,)`` the policy's entropies in nats at the observations acted on last"""
        assert self._last_obs is not None
        observations, _ = self.policy.obs_to_tensor(self._last_obs)
        masks = None if self._action_masks is None else th.as_tensor(self._action_masks, device=self.device)
        with th.no_grad(), unvalidated_distributions():
            entropies: np.ndarray = self.head.pi(self.actor, observations, masks).entropy.cpu().numpy()
        return entropies
