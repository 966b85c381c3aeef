"""Policies: an actor, the critics and the target critics, built by the action space's head."""

from itertools import chain
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.sac import policies as sac
from torch import nn

from sac_ext import action_masks as masking
from sac_ext.arguments import integer_from
from sac_ext.heads import ActionHead, make_head


class SoftACPolicy(sac.SACPolicy):
    """
    SB3's ``SACPolicy`` with the networks that the action space needs: on Box SB3's own, under the same parameter
    names; on discrete actions a categorical actor and the kind of critics that ``critic`` selects.

    Takes the arguments of ``SACPolicy``, and those below. ``use_sde``, ``log_std_init``, ``use_expln`` and
    ``clip_mean`` belong to Gaussian policies and are refused on discrete actions.

    :param args: of ``SACPolicy``
    :param critic: kind of critics, on discrete actions: ``"joint"`` has an output for each joint action, ``"local"``
        has the action as an input, ``"additive"`` sums up outputs for the values of the components; ``"auto"``, the
        default, is joint for up to 512 joint actions or a single component, otherwise local
    :param local_components: with local critics, number of components, drawn anew at each step, from which the actor's
        gradient is estimated; None for all
    :param kwargs: of ``SACPolicy``
    """

    head: ActionHead

    def __init__(
        self, *args: Any, critic: str | None = None, local_components: int | None = None, **kwargs: Any
    ) -> None:
        self._head_options: dict[str, Any] = {"critic": critic, "local_components": local_components}
        self._action_masks: th.Tensor | None = None
        super().__init__(*args, **kwargs)

    def _build(self, lr_schedule: Schedule) -> None:
        self.head = make_head(self.action_space, **self._head_options)
        integer_from("policy_kwargs n_critics", self.critic_kwargs["n_critics"], low=1)
        super()._build(lr_schedule)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | self._head_options

    def predict(
        self,
        observation: np.ndarray | dict[str, np.ndarray],
        state: tuple[np.ndarray, ...] | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray | None = None,
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...] | None]:
        """
        SB3's ``predict``, with action masks as sb3-contrib's maskable policies accept them.

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
        if action_masks is not None:
            checked = masking.check(action_masks, self.head.mask_sizes, self.action_space)
            self._action_masks = th.as_tensor(checked, device=self.device)
        try:
            return super().predict(observation, state, episode_start, deterministic)
        finally:
            self._action_masks = None

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        if self._action_masks is None:
            return super()._predict(observation, deterministic)
        actions: th.Tensor = self.actor(observation, deterministic, self._action_masks)
        return actions

    def set_training_mode(self, mode: bool) -> None:
        """
        Sets the mode only where it changes: SB3 asks for it at every ``predict()``, and checking is cheaper.

        :param mode: whether dropout and batch normalisation work as in training
        """
        modules = chain([self], self.actor.modules(), self.critic.modules())
        if any(module.training != mode for module in modules):
            super().set_training_mode(mode)

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> nn.Module:  # type: ignore[override]
        kwargs = self._update_features_extractor(self.actor_kwargs, features_extractor)
        return self.head.make_actor(**kwargs).to(self.device)

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> nn.Module:  # type: ignore[override]
        kwargs = self._update_features_extractor(self.critic_kwargs, features_extractor)
        return self.head.make_critic(**kwargs).to(self.device)


MlpPolicy = SoftACPolicy


class CnnPolicy(SoftACPolicy, sac.CnnPolicy):
    """:class:`SoftACPolicy` with SB3's ``NatureCNN`` as features extractor."""


class MultiInputPolicy(SoftACPolicy, sac.MultiInputPolicy):
    """:class:`SoftACPolicy` with SB3's ``CombinedExtractor`` for Dict observations."""


def head_of(policy: BasePolicy, default: ActionHead) -> ActionHead:
    """
    :param policy: any policy with an actor and critics, SB3's own ``SACPolicy`` included
    :param default: the head of its action space
    :return: the head it was built with, or else the default
    :raises TypeError: if the head cannot use its actor
    """
    head = policy.head if isinstance(policy, SoftACPolicy) else default
    actor = getattr(policy, "actor", None)
    if not isinstance(actor, head.actor_class):
        raise TypeError(
            f"{type(policy).__name__} has an actor of type {type(actor).__name__}, but the action space "
            f"{policy.action_space} needs a {head.actor_class.__name__}: derive the policy from sac_ext.MlpPolicy, "
            "CnnPolicy or MultiInputPolicy"
        )
    return head
