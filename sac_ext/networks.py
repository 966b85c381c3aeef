"""The actor and the critics of categorical policies, next to SB3's own ``Actor`` and ``ContinuousCritic`` for Box.

Shapes: ``B`` batch, ``C`` critics, ``K`` components of ``A_k`` values, ``A`` the largest ``A_k``, ``S = sum A_k``,
``H`` the first hidden layer.
"""

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel, BasePolicy, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import nn

from sac_ext.components import ActionCode, Components, draw

ROWS_AT_ONCE = 16_384  # that go through a critic's hidden layers together, which bounds the memory of a step


class CategoricalActor(BasePolicy):
    """
    Policy network over the values of each component. Parameter names follow SB3's SAC ``Actor`` (``latent_pi``).

    :param observation_space: Observation space
    :param action_space: Action space
    :param code: how actions are numbered
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
        code: ActionCode,
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
        self.code = code
        self.latent_pi = nn.Sequential(*create_mlp(features_dim, -1, net_arch, activation_fn))
        self.logits = nn.Linear(net_arch[-1] if net_arch else features_dim, code.components.n_values)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "code": self.code,
            "net_arch": self.net_arch,
            "features_dim": self.features_dim,
            "activation_fn": self.activation_fn,
            "features_extractor": self.features_extractor,
        }

    def action_logits(self, obs: PyTorchObs) -> th.Tensor:
        """
        :param obs: Observations
        :return: ``(B, S)`` unnormalised log-probabilities
        """
        features = self.extract_features(obs, self.features_extractor)
        logits: th.Tensor = self.logits(self.latent_pi(features))
        return logits

    def log_probs(self, obs: PyTorchObs, action_masks: th.Tensor | None = None) -> th.Tensor:
        """
        :param obs: Observations
        :param action_masks: which values the environment allows, one component after the other, or None for all
        :return: ``(B, K, A)``
        """
        logits = self.action_logits(obs)
        if action_masks is None:
            return self.code.components.log_probs(logits)
        if len(action_masks) != len(logits):
            raise ValueError(f"got {len(action_masks)} action masks for {len(logits)} observations: pass one for each")
        return self.code.components.log_probs(logits, self.code.policy_masks(action_masks))

    def forward(self, obs: PyTorchObs, deterministic: bool = False, action_masks: th.Tensor | None = None) -> th.Tensor:
        """
        :param obs: Observations
        :param deterministic: take the most probable values instead of sampling them
        :param action_masks: as for :meth:`log_probs`
        :return: ``(B, *shape)`` int64, actions as the environment counts them
        """
        log_probs = self.log_probs(obs, action_masks)
        return self.code.decode(log_probs.argmax(dim=-1) if deterministic else draw(log_probs))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        action: th.Tensor = self(observation, deterministic)
        return action


class CategoricalCritic(BaseModel):
    """
    Critic networks that see only the observation and have an output for each action, or for each value of a component.
    Parameter names follow SB3's ``ContinuousCritic`` (``qf0``, ``qf1``, ...).

    :param observation_space: Observation space
    :param action_space: Action space
    :param n_outputs: Number of outputs of each critic
    :param net_arch: Sizes of the hidden layers
    :param features_extractor: Network to extract features
    :param features_dim: Number of features
    :param activation_fn: Activation function
    :param normalize_images: Whether to divide images by 255
    :param n_critics: Number of critics
    :param share_features_extractor: Whether the features extractor is the actor's, trained by the actor's loss alone
    """

    features_extractor: BaseFeaturesExtractor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_outputs: int,
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
            q_network = nn.Sequential(*create_mlp(features_dim, n_outputs, net_arch, activation_fn))
            self.add_module(f"qf{index}", q_network)
            self.q_networks.append(q_network)

    def forward(self, obs: PyTorchObs) -> tuple[th.Tensor, ...]:
        """
        :param obs: Observations
        :return: for each critic ``(B, n_outputs)``
        """
        # a shared extractor is trained by the actor's loss alone: no autograd graph is needed here
        with th.set_grad_enabled(th.is_grad_enabled() and not self.share_features_extractor):
            features = self.extract_features(obs, self.features_extractor)
        return tuple(q_network(features) for q_network in self.q_networks)


class ActionInputCritic(ContinuousCritic):
    """
    SB3's critics with a one-hot action as their input, and a faster way to evaluate actions that differ from it in one
    component.

    :param components: of the actions
    :param kwargs: of ``ContinuousCritic``
    """

    def __init__(self, *, components: Components, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.components = components

    def features(self, obs: PyTorchObs) -> th.Tensor:
        """
        :param obs: Observations
        :return: ``(B, features_dim)`` without gradient
        """
        with th.no_grad():
            return self.extract_features(obs, self.features_extractor)

    @th.no_grad()
    def with_one_changed(self, features: th.Tensor, index: th.Tensor, positions: th.Tensor) -> th.Tensor:
        """
        Values of the actions that differ from a given one in one component. The change adds the difference of two
        columns of the first layer's weights to that layer's output, which therefore need not be computed again.

        :param features: ``(B, features_dim)``
        :param index: ``(B, K)`` the action, from 0
        :param positions: ``(R,)`` flat positions of the values to try, each in its own component
        :return: ``(C, B, R)``
        """
        one_hot, taken = self.components.one_hot(index), self.components.flat_positions(index)
        at_once = max(1, ROWS_AT_ONCE // len(features))
        values = []
        for q_network in self.q_networks:
            first, *rest = q_network.children()
            assert isinstance(first, nn.Linear)
            columns = first.weight[:, features.shape[1] :].T.contiguous()  # (S, H)
            unchanged = first(th.cat([features, one_hot], dim=1))[:, None]  # (B, 1, H)
            parts = []
            for some in th.split(positions, at_once):
                replaced = taken[:, self.components.component[some]]
                outputs = unchanged - columns[replaced] + columns[some]  # (B, at_once, H)
                for layer in rest:
                    outputs = layer(outputs)
                parts.append(outputs.squeeze(-1))
            values.append(th.cat(parts, dim=1))
        return th.stack(values)
