"""The actor and the critics of a categorical policy, next to SB3's own ``Actor`` and ``ContinuousCritic`` for Box.

Shapes: ``B`` batch, ``N`` actions.
"""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution
from stable_baselines3.common.policies import BaseModel, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn


class CategoricalActor(BasePolicy):
    """
    Policy network over ``N`` actions. Parameter names follow SB3's SAC ``Actor`` (``latent_pi``).

    :param observation_space: Observation space
    :param action_space: Action space
    :param n_actions: ``N``
    :param first_action: number of the first action in the environment's count
    :param net_arch: Sizes of the hidden layers
    :param features_extractor: Network to extract features
    :param features_dim: Number of features
    :param activation_fn: Activation function
    :param normalize_images: Whether to divide images by 255
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_actions: int,
        first_action: int,
        net_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
        )
        self.net_arch = net_arch
        self.features_dim = features_dim
        self.activation_fn = activation_fn
        self.first_action = first_action
        self.n_actions = n_actions
        self.action_dist = CategoricalDistribution(n_actions)
        self.latent_pi = nn.Sequential(*create_mlp(features_dim, -1, net_arch, activation_fn))
        self.logits = self.action_dist.proba_distribution_net(net_arch[-1] if net_arch else features_dim)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "n_actions": self.n_actions,
            "first_action": self.first_action,
            "net_arch": self.net_arch,
            "features_dim": self.features_dim,
            "activation_fn": self.activation_fn,
            "features_extractor": self.features_extractor,
        }

    def action_logits(self, obs: PyTorchObs) -> th.Tensor:
        """
        :param obs: Observations
        :return: ``(B, N)`` unnormalised log-probabilities
        """
        features = self.extract_features(obs, self.features_extractor)
        logits: th.Tensor = self.logits(self.latent_pi(features))
        return logits

    def forward(self, obs: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        """
        :param obs: Observations
        :param deterministic: take the most probable action instead of drawing one
        :return: ``(B,)`` int64, actions as the environment counts them
        """
        action = self.action_dist.actions_from_params(self.action_logits(obs), deterministic=deterministic)
        return action + self.first_action

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        action: th.Tensor = self(observation, deterministic)
        return action


class CategoricalCritic(BaseModel):
    """
    Critic networks that give the value of all ``N`` actions at once. Parameter names follow SB3's
    ``ContinuousCritic`` (``qf0``, ``qf1``, ...).

    :param observation_space: Observation space
    :param action_space: Action space
    :param n_actions: ``N``
    :param net_arch: Sizes of the hidden layers
    :param features_extractor: Network to extract features
    :param features_dim: Number of features
    :param activation_fn: Activation function
    :param normalize_images: Whether to divide images by 255
    :param n_critics: Number of critics
    :param share_features_extractor: Whether the features extractor is the actor's, which the actor's loss alone trains
    """

    features_extractor: BaseFeaturesExtractor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_actions: int,
        net_arch: list[int],
        features_extractor: BaseFeaturesExtractor,
        features_dim: int,
        activation_fn: type[nn.Module] = nn.ReLU,
        normalize_images: bool = True,
        n_critics: int = 2,
        share_features_extractor: bool = True,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor=features_extractor,
            normalize_images=normalize_images,
        )
        self.share_features_extractor = share_features_extractor
        self.n_critics = n_critics
        self.q_networks: list[nn.Module] = []
        for index in range(n_critics):
            q_network = nn.Sequential(*create_mlp(features_dim, n_actions, net_arch, activation_fn))
            self.add_module(f"qf{index}", q_network)
            self.q_networks.append(q_network)

    def forward(self, obs: PyTorchObs) -> tuple[th.Tensor, ...]:
        """
        :param obs: Observations
        :return: for each critic ``(B, N)``
        """
        # a shared extractor learns from the actor's loss alone: no graph is needed here
        with th.set_grad_enabled(th.is_grad_enabled() and not self.share_features_extractor):
            features = self.extract_features(obs, self.features_extractor)
        return tuple(q_network(features) for q_network in self.q_networks)
