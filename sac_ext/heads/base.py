"""What the losses need from a family of action spaces.

Shapes: ``B`` batch, ``C`` critics, ``K`` components of ``A_k`` values each, ``S = sum A_k``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

Reduce = Callable[[th.Tensor], th.Tensor]  # (C, ...) -> (...)


@dataclass(frozen=True)
class Defaults:
    """What ``SoftAC`` uses on a family unless the user chooses otherwise."""

    target_entropy: float | str  # nats, or a kind of target
    initial_ent_coef: float
    ent_coef_bounds: tuple[float, float] | None
    critic_reduction: str
    entropy_in_critic: float


@dataclass
class ActionDistribution:
    """A policy at a batch of observations."""

    entropy: th.Tensor
    """``(B,)`` in nats, differentiable with respect to the actor."""

    @property
    def entropies(self) -> th.Tensor:
        """``(B, K)`` in nats, of each component of the policy."""
        return self.entropy[:, None]


class ActionHead(ABC):
    """
    One family of action spaces.

    :param space: Action space
    """

    actor_class: ClassVar[type[nn.Module]]
    """The class that :meth:`pi` needs an actor to have."""
    exact_entropy: ClassVar[bool]
    """Whether the entropy is exact, not estimated from one action."""
    matches_sac: ClassVar[bool]
    """Whether SB3's SAC supports this family too, so that eager steps must equal its steps bit for bit."""
    continuous: ClassVar[bool]
    """Whether actions are real numbers, to which noise can be added, and not numbered values."""

    action_dim: int
    """Number of components of an action."""
    policy_components: int = 1
    """Number of components whose entropies add up to the policy's."""
    mask_sizes: tuple[int, ...]
    """``A_k``, number of entries of an action mask for each component; empty if actions cannot be masked."""
    min_entropy: float
    """Lower bound of the entropy in nats, not reached by a policy with a gradient."""
    max_entropy: float
    """Entropy of the uniform policy in nats."""
    defaults: Defaults

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = space

    @abstractmethod
    def make_actor(self, **kwargs: Any) -> nn.Module:
        """Build the policy network from the arguments that SB3's ``SACPolicy`` gives its ``Actor``."""

    @abstractmethod
    def make_critic(self, **kwargs: Any) -> nn.Module:
        """Build the critics from the arguments that SB3's ``SACPolicy`` gives its ``ContinuousCritic``."""

    @abstractmethod
    def pi(self, actor: Any, obs: PyTorchObs, action_masks: th.Tensor | None = None) -> Any:
        """
        :param actor: policy network
        :param obs: Observations
        :param action_masks: ``(B, S)`` which values the environment allows, or None for all
        :return: the policy at ``obs``, an :class:`ActionDistribution`. On Box this samples one action per observation.
        """

    @abstractmethod
    def expected_q(self, pi: Any, critic: Any, obs: PyTorchObs, reduce: Reduce) -> th.Tensor:
        """
        ``E_{a ~ pi}[reduce_c Q_c(s, a)]``: the critics are reduced first, then the expectation is taken.

        :param pi: what :meth:`pi` returned at ``obs``
        :param critic: critic networks
        :param obs: Observations
        :param reduce: turns the values of several critics into one estimate
        :return: ``(B,)``, with a gradient with respect to the actor
        """

    def next_q(self, pi: Any, critic: Any, obs: PyTorchObs, reduce: Reduce) -> th.Tensor:
        """:return: ``(B,)`` the same expectation for the TD target, where no gradient is needed"""
        return self.expected_q(pi, critic, obs, reduce)

    @abstractmethod
    def q_taken(self, critic: Any, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """
        :param critic: critic networks
        :param obs: Observations
        :param actions: as the replay buffer keeps them
        :return: ``(C, B)`` value of these actions
        """

    def max_entropies(self) -> th.Tensor:
        """:return: ``(K,)`` entropy in nats of each component of the uniform policy"""
        return th.tensor([self.max_entropy])

    def masked_max_entropies(self, action_masks: th.Tensor) -> th.Tensor:
        """
        :param action_masks: ``(B, S)``
        :return: ``(B, K)`` maximum entropy in nats of each of the action's components: that of a uniform choice among
            its allowed values
        """
        raise NotImplementedError(f"actions of {self.space} cannot be masked")

    def sample_allowed(self, action_mask: np.ndarray) -> Any:
        """
        :param action_mask: ``(S,)``
        :return: an action of the environment, uniform over those allowed, from the action space's own generator
        """
        raise NotImplementedError(f"actions of {self.space} cannot be masked")
