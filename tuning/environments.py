"""Environments as a study records them: an id, keyword arguments, and the wrappers of a zoo entry."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv, VecFrameStack, VecNormalize

from .entries import ENVIRONMENT_KEYS, evaluated


@dataclass(frozen=True)
class EnvironmentSpec:
    """
    An environment, in a form that a study can record.

    :param env_id: ``CartPole-v1`` or ``module:MyEnv-v0``, which imports the module first
    :param env_kwargs: keyword arguments of the environment
    :param options: ``n_envs``, ``normalize``, ``frame_stack``, ``env_wrapper``, ... as in a zoo entry
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_entry(cls, env_id: str, entry: Mapping[str, Any], env_kwargs: Mapping[str, Any]) -> "EnvironmentSpec":
        """:return: the environment of a zoo entry, with keyword arguments added to the entry's"""
        options = {key: entry[key] for key in ENVIRONMENT_KEYS if key in entry}
        return cls(env_id, {**(options.pop("env_kwargs", None) or {}), **env_kwargs}, options)

    def with_discount(self, gamma: float | None) -> "EnvironmentSpec":
        """
        Let reward normalisation use the algorithm's discount factor.

        :param gamma: discount factor of the algorithm, or None for its default
        :return: the environment; if it is normalised, with this ``gamma`` for ``VecNormalize``, as in the zoo
        """
        normalize = self._evaluated("normalize")
        if gamma is None or not normalize:
            return self
        options = {**(normalize if isinstance(normalize, dict) else {}), "gamma": gamma}
        return replace(self, options={**self.options, "normalize": options})

    @property
    def name(self) -> str:
        """The id without the module."""
        return self.env_id.rpartition(":")[2]

    @property
    def n_envs(self) -> int:
        """Number of environments to train in."""
        return int(self.options.get("n_envs", 1))

    def check(self) -> None:
        """
        Import the module and look the id up.

        :raises ValueError: if there is no such module or environment
        """
        module, _, name = self.env_id.rpartition(":")
        if module:
            try:
                importlib.import_module(module)
            except (ImportError, TypeError) as error:  # a TypeError for .relative names
                raise ValueError(f"{self.env_id!r}: cannot import {module!r} ({error})") from error
        if name not in gym.registry:
            from sac_ext.zoo import environments  # imported here because it imports this package too

            environments.register([])  # MinAtar's environments do not register themselves
        try:
            gym.spec(name)
        except gym.error.Error as error:
            close = difflib.get_close_matches(name, list(gym.registry), n=3)
            hint = f"Did you mean {' or '.join(close)}?" if close else "Ids of other packages are written module:id."
            raise ValueError(f"There is no environment {self.env_id!r} ({error}). {hint}") from error

    def action_space(self) -> spaces.Space[Any]:
        """:return: the action space of the environment with its wrappers"""
        env = self.make(0, n_envs=1)
        env.close()
        return env.action_space

    def make(self, seed: int, n_envs: int | None = None, training: bool = True) -> VecEnv:
        """
        Make the environment, vectorised and with its wrappers.

        :param seed: seed of the first environment; the others have the seeds that follow
        :param n_envs: number of environments; None for the number to train in
        :param training: whether ``VecNormalize`` updates its statistics and normalises rewards
        :return: the vectorised and wrapped environment
        :raises ValueError: if the environment cannot be made
        """
        self.check()
        wrapper, vec_wrapper = self._wrapper("env_wrapper"), self._wrapper("vec_env_wrapper")
        if self.n_envs < 1:
            raise ValueError(f"n_envs must be at least 1, got {self.n_envs}")
        try:
            env: VecEnv = make_vec_env(
                partial(gym.make, self.env_id),  # given only an id, it would set render_mode="rgb_array"
                self.n_envs if n_envs is None else n_envs,
                seed,
                env_kwargs=dict(self.env_kwargs),
                wrapper_class=wrapper,
                monitor_kwargs=self._evaluated("monitor_kwargs") or {},
            )
        except Exception as error:  # raised by the environment's own code
            raise ValueError(f"Cannot make {self.env_id!r} with {self.env_kwargs}: {error}") from error
        if vec_wrapper is not None:
            env = vec_wrapper(env)
        if self.options.get("frame_stack"):  # before the normalisation, or the replay buffer gets single frames
            env = VecFrameStack(env, int(self.options["frame_stack"]))
        normalize = self._evaluated("normalize")
        if normalize:
            options = dict(normalize) if isinstance(normalize, dict) else {}
            if not training:
                options |= {"training": False, "norm_reward": False}
            try:
                env = VecNormalize(env, **options)
            except TypeError as error:
                raise ValueError(f"normalize has options that VecNormalize does not take: {error}") from error
        return env

    def _evaluated(self, key: str) -> Any:
        """:return: an option; a string is evaluated as a Python expression, as in the zoo"""
        value = self.options.get(key)
        return evaluated(key, value) if isinstance(value, str) else value

    def _wrapper(self, key: str) -> Any:
        """:return: the wrapper that this option names, or None if it is not set"""
        if self.options.get(key) is None:
            return None
        from rl_zoo3.utils import get_wrapper_class

        try:
            return get_wrapper_class(dict(self.options), key)
        except (ImportError, AttributeError, ValueError, AssertionError, TypeError) as error:
            raise ValueError(f"Cannot find the {key} {self.options[key]!r}: {error}") from error
