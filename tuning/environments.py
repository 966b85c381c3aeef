"""Environments by what a study records of them: an id, keyword arguments, and the wrappers of a zoo entry."""

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
    An environment, by what can be written down of it.

    :param env_id: ``CartPole-v1`` or ``module:MyEnv-v0``, which imports the module first
    :param env_kwargs: of the environment
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
        Let the normalisation of rewards discount as the algorithm does.

        :param gamma: of the algorithm, or None for its default
        :return: with rewards normalised by it, where they are, as the zoo does
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
        """Number of environments that are trained in."""
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
            from sac_ext.zoo import environments  # which imports this package too

            environments.register([])  # MinAtar's, which do not register themselves
        try:
            gym.spec(name)
        except gym.error.Error as error:
            close = difflib.get_close_matches(name, list(gym.registry), n=3)
            hint = f"Did you mean {' or '.join(close)}?" if close else "Ids of other packages are written module:id."
            raise ValueError(f"There is no environment {self.env_id!r} ({error}). {hint}") from error

    def action_space(self) -> spaces.Space[Any]:
        """:return: that of the environment with its wrappers"""
        env = self.make(0, n_envs=1)
        env.close()
        return env.action_space

    def make(self, seed: int, n_envs: int | None = None, training: bool = True) -> VecEnv:
        """
        Make the environment, vectorised and with its wrappers.

        :param seed: of the first environment; the others count on
        :param n_envs: None for the number to be trained in
        :param training: whether normalisation learns, and rewards are normalised
        :return: vectorised and wrapped
        :raises ValueError: if the environment cannot be made
        """
        self.check()
        wrapper, vec_wrapper = self._wrapper("env_wrapper"), self._wrapper("vec_env_wrapper")
        if self.n_envs < 1:
            raise ValueError(f"n_envs must be at least 1, got {self.n_envs}")
        try:
            env: VecEnv = make_vec_env(
                partial(gym.make, self.env_id),  # from an id alone it would ask for pictures
                self.n_envs if n_envs is None else n_envs,
                seed,
                env_kwargs=dict(self.env_kwargs),
                wrapper_class=wrapper,
                monitor_kwargs=self._evaluated("monitor_kwargs") or {},
            )
        except Exception as error:  # of the environment's own code
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
        """:return: an option, evaluated if it is a string as the zoo has it"""
        value = self.options.get(key)
        return evaluated(key, value) if isinstance(value, str) else value

    def _wrapper(self, key: str) -> Any:
        """:return: what wraps an environment as this option says, None without it"""
        if self.options.get(key) is None:
            return None
        from rl_zoo3.utils import get_wrapper_class

        try:
            return get_wrapper_class(dict(self.options), key)
        except (ImportError, AttributeError, ValueError, AssertionError, TypeError) as error:
            raise ValueError(f"Cannot find the {key} {self.options[key]!r}: {error}") from error
