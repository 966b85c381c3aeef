"""Policies: an actor, the critics and their targets, sized by the action space's head."""

from itertools import chain

from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.sac import policies as sac
from torch import nn

from sac_ext.heads import ActionHead, make_head


class SoftACPolicy(sac.SACPolicy):
    """
    SB3's ``SACPolicy`` with the networks that the action space needs: on Box SB3's own, under the same parameter
    names, on Discrete a categorical actor and critics that value all actions at once.

    Takes the arguments of ``SACPolicy``. ``use_sde``, ``log_std_init``, ``use_expln`` and ``clip_mean`` belong to
    Gaussian policies and are refused on discrete actions.
    """

    head: ActionHead

    def _build(self, lr_schedule: Schedule) -> None:
        self.head = make_head(self.action_space)
        super()._build(lr_schedule)

    def set_training_mode(self, mode: bool) -> None:
        """
        Sets it only where it is not set: SB3 asks for it at every ``predict()``, and looking is cheaper.

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
    :raises TypeError: if its actor is not one the head understands
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
