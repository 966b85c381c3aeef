"""Continuous actions: SB3's squashed Gaussian, represented by one reparametrised action per observation.

Shapes: ``B`` batch, ``C`` critics, ``D`` size of an action.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import Actor
from torch import nn

from sac_ext.heads.base import ActionDistribution, ActionHead, Defaults, Reduce


@dataclass
class SampledActions(ActionDistribution):
    """A continuous policy; its entropy is the one-sample estimate ``-log_prob``."""

    actions: th.Tensor  # (B, D) in [-1, 1]


class BoxHead(ActionHead):
    """
    SB3's squashed Gaussian. Entropies are those of the action scaled to [-1, 1], as everywhere in SB3, so the uniform
    policy has ``D log 2`` nats whatever the bounds of the space.

    :param space: Action space
    """

    actor_class = nn.Module  # any actor with SB3's action_log_prob, so that custom SAC policies keep working
    exact_entropy = False
    matches_sac = True
    continuous = True
    mask_sizes = ()
    min_entropy = -math.inf

    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space)
        self.action_dim = int(np.prod(space.shape))
        self.max_entropy = self.action_dim * math.log(2)
        self.defaults = Defaults(
            target_entropy=float(-self.action_dim),
            initial_ent_coef=1.0,
            ent_coef_bounds=None,
            critic_reduction="min",
            entropy_in_critic=1.0,
        )

    def make_actor(self, **kwargs: Any) -> nn.Module:
        return Actor(**kwargs)

    def make_critic(self, **kwargs: Any) -> nn.Module:
        return ContinuousCritic(**kwargs)

    def pi(self, actor: Any, obs: PyTorchObs, action_masks: th.Tensor | None = None) -> SampledActions:
        actions, log_prob = actor.action_log_prob(obs)
        return SampledActions(entropy=-log_prob.flatten(), actions=actions)

    def expected_q(self, pi: SampledActions, critic: Any, obs: PyTorchObs, reduce: Reduce) -> th.Tensor:
        return reduce(th.stack(critic(obs, pi.actions))).squeeze(-1)  # (C, B, 1) -> (B,)

    def q_taken(self, critic: Any, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        return th.stack(critic(obs, actions)).squeeze(-1)  # (C, B, 1) -> (C, B)
