"""Discrete actions of one or several components, with exact entropies, and three kinds of critics for them.

Shapes: ``B`` batch, ``C`` critics, ``K`` components of ``A_k`` values each, ``A`` the largest ``A_k``,
``S = sum A_k``, ``N = prod A_k``. A policy over several components is a product of their policies,
``H(pi) = sum_k H(pi_k)``; the joint head's policy has one component with ``N`` values.
"""

import inspect
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.sac.policies import Actor
from torch import nn

from sac_ext.components import ActionCode, JointCode, draw
from sac_ext.heads.base import ActionDistribution, ActionHead, Defaults, Reduce
from sac_ext.networks import ActionInputCritic, CategoricalActor, CategoricalCritic


@dataclass
class CategoricalActions(ActionDistribution):
    """A policy over the values of each component, with exact probabilities and entropies."""

    log_probs: th.Tensor  # (B, K, A)
    probs: th.Tensor  # (B, K, A)
    of_components: th.Tensor  # (B, K) entropies

    @classmethod
    def of(cls, log_probs: th.Tensor) -> "CategoricalActions":
        """:param log_probs: ``(B, K, A)``"""
        probs = log_probs.exp()
        terms = probs * log_probs.masked_fill(probs == 0, 0.0)  # values that are not allowed add nothing
        entropies = -terms.sum(dim=2)
        return cls(entropies.sum(dim=1), log_probs, probs, entropies)

    @property
    def entropies(self) -> th.Tensor:
        return self.of_components


class CategoricalHead(ActionHead):
    """
    Exact sums over the values of each component (Christodoulou 2019 for one component).

    :param space: Action space
    :param sizes: ``A_k``, number of values of each component
    :param starts: what the environment calls each component's first value
    :param shape: of an action of the environment
    """

    actor_class = CategoricalActor
    exact_entropy = True
    matches_sac = False
    continuous = False
    min_entropy = 0.0
    code_class: ClassVar[type[ActionCode]] = ActionCode

    def __init__(
        self, space: spaces.Space[Any], sizes: tuple[int, ...], starts: tuple[int, ...], shape: tuple[int, ...]
    ) -> None:
        super().__init__(space)
        self.code = self.code_class(sizes, starts, shape)  # the actor has it too, and moves it to its device
        self.action_dim = len(sizes)
        self.policy_components = self.code.components.n_components
        self.mask_sizes = sizes
        self.max_entropy = self.code.environment_components.max_entropy
        self.defaults = Defaults(
            target_entropy="linear:0.5->0.1@0.5",
            initial_ent_coef=0.1,
            ent_coef_bounds=(1e-4, 10.0),
            critic_reduction="mean",
            entropy_in_critic=0.0,
        )

    def make_actor(self, **kwargs: Any) -> nn.Module:
        for name in ("use_sde", "log_std_init", "use_expln", "clip_mean"):
            default = inspect.signature(Actor).parameters[name].default
            value = kwargs.pop(name, default)
            if value != default:
                raise ValueError(
                    f"policy_kwargs {name}={value!r} applies only to Gaussian policies, but the action space is "
                    f"{self.space}: leave it out, or use a Box action space"
                )
        return CategoricalActor(code=self.code, **kwargs)

    def pi(self, actor: Any, obs: PyTorchObs, action_masks: th.Tensor | None = None) -> CategoricalActions:
        return CategoricalActions.of(actor.log_probs(obs, action_masks))

    def q_taken(self, critic: Any, obs: PyTorchObs, actions: th.Tensor) -> th.Tensor:
        return self.q_of_index(critic, obs, self.code.encode(actions))

    @abstractmethod
    def q_of_index(self, critic: Any, obs: PyTorchObs, index: th.Tensor) -> th.Tensor:
        """
        :param critic: critic networks
        :param obs: Observations
        :param index: ``(B, K)`` a value of each component, from 0
        :return: ``(C, B)``
        """

    def max_entropies(self) -> th.Tensor:
        return th.tensor(self.code.components.sizes).log()

    def masked_max_entropies(self, action_masks: th.Tensor) -> th.Tensor:
        components = self.code.environment_components
        allowed = components.padded(action_masks) & components.exists
        return allowed.sum(dim=-1).log()

    def sample_allowed(self, action_mask: np.ndarray) -> Any:
        per_component = np.split(action_mask.astype(np.int8), np.cumsum(self.code.environment_components.sizes)[:-1])
        if isinstance(self.space, spaces.MultiDiscrete):
            return self.space.sample(mask=tuple(per_component))
        if isinstance(self.space, spaces.MultiBinary):
            zeros, ones = np.transpose(per_component)
            return self.space.sample(mask=np.where(zeros & ones, 2, ones).astype(np.int8))
        return self.space.sample(mask=per_component[0])


class JointHead(CategoricalHead):
    """Critics and policy have an output for each of the ``N`` joint actions, so they can find the true soft optimum."""

    code_class = JointCode

    def make_critic(self, **kwargs: Any) -> nn.Module:
        return CategoricalCritic(n_outputs=self.code.components.n_values, **kwargs)

    def expected_q(self, pi: CategoricalActions, critic: Any, obs: PyTorchObs, reduce: Reduce) -> th.Tensor:
        with th.no_grad():
            q_values = reduce(th.stack(critic(obs)))  # (C, B, N) -> (B, N)
        return (pi.probs.squeeze(1) * q_values).sum(dim=1)

    def q_of_index(self, critic: Any, obs: PyTorchObs, index: th.Tensor) -> th.Tensor:
        q_values = th.stack(critic(obs))  # (C, B, N)
        return q_values.gather(2, index.expand(len(q_values), -1, -1)).squeeze(-1)


class AdditiveHead(CategoricalHead):
    """
    ``Q(s, a) = V(s) + sum_k A_k(s, a_k)``: exact expectations, but no interactions between components. A shared value
    and an advantage for each component are from BDQ (Tavakoli et al. 2018, arXiv:1711.08946), which has a Q-function
    for each component; their sum is a value decomposition (Sunehag et al. 2018, arXiv:1706.05296).
    """

    def make_critic(self, **kwargs: Any) -> nn.Module:
        return CategoricalCritic(n_outputs=1 + self.code.components.n_values, **kwargs)

    def _value_and_advantages(self, critic: Any, obs: PyTorchObs) -> tuple[th.Tensor, th.Tensor]:
        """:return: ``(C, B)`` and ``(C, B, K, A)``"""
        outputs = th.stack(critic(obs))  # (C, B, 1 + S)
        return outputs[..., 0], self.code.components.padded(outputs[..., 1:])

    def expected_q(self, pi: CategoricalActions, critic: Any, obs: PyTorchObs, reduce: Reduce) -> th.Tensor:
        """Here the critics are reduced last: a minimum of sums is not a sum over components. For the mean, the order
        makes no difference."""
        with th.no_grad():
            value, advantages = self._value_and_advantages(critic, obs)
        return reduce(value + (pi.probs * advantages).sum(dim=(-2, -1)))

    def q_of_index(self, critic: Any, obs: PyTorchObs, index: th.Tensor) -> th.Tensor:
        value, advantages = self._value_and_advantages(critic, obs)
        taken = index[..., None].expand(len(advantages), -1, -1, -1)  # (C, B, K, 1)
        return value + advantages.gather(-1, taken).sum(dim=(-2, -1))


class LocalHead(CategoricalHead):
    """
    Critics that see the whole action, and so interactions between components, however many joint actions there are,
    with the local expectation gradient (Titsias & Lazaro-Gredilla 2015, "Local Expectation Gradients for Black Box
    Variational Inference"): one action is sampled; for each component, the critics evaluate all of its values with the
    other components as sampled, weighted by their probabilities. This is unbiased, and needs no gradient through the
    critics.

    :param space: Action space
    :param sizes: ``A_k``, number of values of each component
    :param starts: what the environment calls each component's first value
    :param shape: of an action of the environment
    :param local_components: number of components, drawn anew at each step, from which the actor's gradient is
        estimated; None for all
    """

    def __init__(
        self,
        space: spaces.Space[Any],
        sizes: tuple[int, ...],
        starts: tuple[int, ...],
        shape: tuple[int, ...],
        local_components: int | None = None,
    ) -> None:
        super().__init__(space, sizes, starts, shape)
        self.local_components = local_components

    def make_critic(self, **kwargs: Any) -> nn.Module:
        components = self.code.components
        one_hot = spaces.Box(0.0, 1.0, (components.n_values,), np.float32)
        return ActionInputCritic(components=components, **kwargs | {"action_space": one_hot})

    def expected_q(self, pi: CategoricalActions, critic: Any, obs: PyTorchObs, reduce: Reduce) -> th.Tensor:
        components = self.code.components
        index, features = draw(pi.log_probs), critic.features(obs)
        rows, places, positions = self._alternatives()
        with th.no_grad():
            q_values = reduce(critic.with_one_changed(features, index, positions))  # (B, R)
        terms = pi.probs[:, rows, places] * q_values  # (B, R); the sum over each component is an estimate of E[Q]
        estimates = terms.sum(dim=1)
        n_summed = self.local_components or components.n_components
        # the value is that of the mean of the estimates, the gradient that of the sum over all components
        return estimates.detach() / n_summed + (estimates - estimates.detach()) * components.n_components / n_summed

    def _alternatives(self) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """:return: ``(R,)`` each, of the values to try: component, value in that component, and flat position"""
        components = self.code.components
        if self.local_components is None:
            rows = components.component
            positions = th.arange(components.n_values, device=rows.device)
            return rows, positions - components.first[rows], positions
        noise = th.rand(components.n_components, device=components.first.device)
        chosen = noise.topk(self.local_components).indices
        rows = chosen.repeat_interleave(components.largest)
        places = th.arange(components.largest, device=rows.device).repeat(self.local_components)
        return rows, places, components.positions[chosen].flatten()

    def next_q(self, pi: CategoricalActions, critic: Any, obs: PyTorchObs, reduce: Reduce) -> th.Tensor:
        """Estimated from one sampled action, which is unbiased too."""
        return reduce(self.q_of_index(critic, obs, draw(pi.log_probs)))

    def q_of_index(self, critic: Any, obs: PyTorchObs, index: th.Tensor) -> th.Tensor:
        return th.stack(critic(obs, self.code.components.one_hot(index))).squeeze(-1)  # (C, B, 1) -> (C, B)
