"""Action-space families: what networks a space needs and how its policy's expectation and entropy are computed.

The only file that names spaces. The losses ask a family two things, the expectation ``E_pi[Q]`` and the entropy
``H(pi)``; everything that differs between families is behind :class:`ActionHead`. A new family is one subclass and one
registration with :func:`make_head`.

Shapes: ``B`` batch, ``C`` critics, ``N`` actions, ``D`` size of a Box action.
"""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import Actor
from torch import nn
from torch.nn import functional as F

from sac_ext.networks import CategoricalActor, CategoricalCritic

Reduce = Callable[[th.Tensor], th.Tensor]  # (C, ...) -> (...)


@dataclass(frozen=True)
class Defaults:
    """What ``SoftAC`` uses on a family where the user chose nothing."""

    target_entropy: float  # nats
    initial_ent_coef: float
    ent_coef_bounds: tuple[float, float] | None
    critic_reduction: str


class ActionDistribution(ABC):
    """A policy at a batch of observations."""

    entropy: th.Tensor
    """``(B,)`` in nats, differentiable with respect to the actor."""

    @abstractmethod
    def expected_q(self, critic: nn.Module, obs: PyTorchObs, reduce: Reduce) -> th.Tensor:
        """
        ``E_{a ~ pi}[reduce_c Q_c(s, a)]``: the critics are reduced first, then the expectation is taken.

        :param critic: critic networks
        :param obs: the observations at which this distribution was computed
        :param reduce: how several critics become one estimate
        :return: ``(B,)``, with a gradient with respect to the actor
        """


class ActionHead(ABC):
    """One family of action spaces."""

    actor_class: ClassVar[type[nn.Module]]
    """What an actor must be for :meth:`pi` to understand it."""

    action_dim: int
    """Number of components of an action."""
    min_entropy: float
    """Lower bound of the entropy in nats, not reached by a policy with a gradient."""
    max_entropy: float
    """Entropy of the uniform policy in nats."""
    defaults: Defaults
    uses_action_noise: bool

    @abstractmethod
    def make_actor(self, **kwargs: Any) -> nn.Module:
        """Build the policy network from the arguments that SB3's ``SACPolicy`` gives its ``Actor``."""

    @abstractmethod
    def make_critic(self, **kwargs: Any) -> nn.Module:
        """Build the critics from the arguments that SB3's ``SACPolicy`` gives its ``ContinuousCritic``."""

    @abstractmethod
    def pi(self, actor: Any, obs: PyTorchObs) -> ActionDistribution:
        """The policy at ``obs``. On Box this draws one action per observation."""

    @abstractmethod
    def q_taken(self, critic: nn.Module, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        """
        :param critic: critic networks
        :param obs: Observations
        :param actions: as the replay buffer keeps them
        :return: ``(C, B)`` value of these actions
        """


@dataclass
class SampledActions(ActionDistribution):
    """A continuous policy, known by one reparametrised action per observation."""

    actions: th.Tensor  # (B, D) in [-1, 1]
    entropy: th.Tensor  # (B,) one-sample estimate, -log_prob

    def expected_q(self, critic: nn.Module, obs: PyTorchObs, reduce: Reduce) -> th.Tensor:
        return reduce(th.stack(critic(obs, self.actions))).squeeze(-1)  # (C, B, 1) -> (B,)


class BoxHead(ActionHead):
    """
    SB3's squashed Gaussian. Entropies are those of the action scaled to [-1, 1], as everywhere in SB3, so the uniform
    policy has ``D log 2`` nats whatever the bounds of the space.

    :param space: Action space
    """

    actor_class = nn.Module  # any actor with SB3's action_log_prob, so that custom SAC policies go on working
    min_entropy = -math.inf
    uses_action_noise = True

    def __init__(self, space: spaces.Box) -> None:
        self.action_dim = int(np.prod(space.shape))
        self.max_entropy = self.action_dim * math.log(2)
        self.defaults = Defaults(
            target_entropy=float(-self.action_dim),
            initial_ent_coef=1.0,
            ent_coef_bounds=None,
            critic_reduction="min",
        )

    def make_actor(self, **kwargs: Any) -> nn.Module:
        return Actor(**kwargs)

    def make_critic(self, **kwargs: Any) -> nn.Module:
        return ContinuousCritic(**kwargs)

    def pi(self, actor: Any, obs: PyTorchObs) -> SampledActions:
        actions, log_prob = actor.action_log_prob(obs)
        return SampledActions(actions, entropy=-log_prob.flatten())

    def q_taken(self, critic: nn.Module, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        return th.stack(critic(obs, actions)).squeeze(-1)  # (C, B, 1) -> (C, B)


@dataclass
class CategoricalActions(ActionDistribution):
    """A policy over ``N`` actions, known exactly."""

    log_probs: th.Tensor  # (B, N)

    def __post_init__(self) -> None:
        self.probs = self.log_probs.exp()  # (B, N)
        self.entropy = -(self.probs * self.log_probs).sum(dim=1)

    def expected_q(self, critic: nn.Module, obs: PyTorchObs, reduce: Reduce) -> th.Tensor:
        with th.no_grad():
            q_values = reduce(th.stack(critic(obs)))  # (C, B, N) -> (B, N)
        return (self.probs * q_values).sum(dim=1)


class CategoricalHead(ActionHead):
    """
    Exact sums over ``N`` actions (Christodoulou 2019).

    :param space: Action space
    :param n_actions: ``N``
    :param first_action: number of the first action in the environment's count
    """

    actor_class = CategoricalActor
    action_dim = 1
    min_entropy = 0.0
    uses_action_noise = False

    def __init__(self, space: spaces.Space[Any], n_actions: int, first_action: int = 0) -> None:
        self.space = space
        self.n_actions = n_actions
        self.first_action = first_action
        self.max_entropy = math.log(n_actions)
        self.defaults = Defaults(
            target_entropy=0.5 * self.max_entropy,
            initial_ent_coef=0.1,
            ent_coef_bounds=(1e-4, 10.0),
            critic_reduction="mean",
        )

    def make_actor(self, **kwargs: Any) -> nn.Module:
        for name in ("use_sde", "log_std_init", "use_expln", "clip_mean"):
            default = inspect.signature(Actor).parameters[name].default
            value = kwargs.pop(name, default)
            if value != default:
                raise ValueError(
                    f"policy_kwargs {name}={value!r} shapes a Gaussian policy and means nothing for the action space "
                    f"{self.space}: leave it out, or use a Box action space"
                )
        return CategoricalActor(n_actions=self.n_actions, first_action=self.first_action, **kwargs)

    def make_critic(self, **kwargs: Any) -> nn.Module:
        return CategoricalCritic(n_actions=self.n_actions, **kwargs)

    def pi(self, actor: Any, obs: PyTorchObs) -> CategoricalActions:
        return CategoricalActions(F.log_softmax(actor.action_logits(obs), dim=1))

    def q_taken(self, critic: nn.Module, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        index = (actions.long() - self.first_action).reshape(1, -1, 1)  # (1, B, 1)
        q_values = th.stack(critic(obs))  # (C, B, N)
        return q_values.gather(2, index.expand(len(q_values), -1, -1)).squeeze(-1)


@singledispatch
def make_head(space: spaces.Space[Any]) -> ActionHead:
    """
    :param space: Action space
    :return: the family it belongs to
    :raises TypeError: if no family covers it
    """
    supported = sorted(kind.__name__ for kind in make_head.registry if kind is not object)
    raise TypeError(
        f"SoftAC has no policy for the action space {space}: supported are {' and '.join(supported)}. "
        "Flatten or re-encode the actions with a gymnasium.ActionWrapper"
    )


@make_head.register
def _(space: spaces.Box) -> ActionHead:
    return BoxHead(space)


@make_head.register
def _(space: spaces.Discrete) -> ActionHead:
    return CategoricalHead(space, n_actions=int(space.n), first_action=int(space.start))
