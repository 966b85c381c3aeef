"""
Linear dynamics, quadratic cost, Gaussian noise: the entropy-regularised optimum in closed form.

``s' = A s + B a + w``, ``r = -s'Qs - a'Ra``. With ``M = R + g B'PB``, ``K = g M^-1 B'PA`` and the Riccati solution
``P``, the best policy is ``N(-K s, (alpha / 2) M^-1)`` and ``V(s) = -s'Ps + c``. Actions reach to +-10, so that tanh is
nearly linear where the policy lives; entropies are those of the action over 10, which takes ``alpha log 10 / (1 - g)``
off ``c``.
"""

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from torch import nn

from sac_ext import MlpPolicy
from tests.oracles import Spaces, add, soft_ac, train_in_phases

A, B = np.array([[0.9, 0.2], [-0.1, 0.8]]), np.array([[0.0], [1.0]])
Q, R, W = np.diag([1.0, 0.5]), np.array([[0.5]]), 0.04 * np.eye(2)
GAMMA, ALPHA = 0.9, 0.4


def optimum() -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """``K``, covariance, ``P`` and ``c``."""
    p = np.zeros((2, 2))
    for _ in range(1000):
        m = R + GAMMA * B.T @ p @ B
        k = GAMMA * np.linalg.solve(m, B.T @ p @ A)
        p = Q + GAMMA * A.T @ p @ A - GAMMA * A.T @ p @ B @ k
    entropy = ALPHA / 2 * (math.log(math.pi * ALPHA) - math.log(np.linalg.det(m))) - ALPHA * math.log(10)
    return k, ALPHA / 2 * np.linalg.inv(m), p, (entropy - GAMMA * np.trace(p @ W)) / (1 - GAMMA)


class Quadratic(nn.Module):
    """All products of two components of (state, action): the class the true values lie in."""

    def forward(self, inputs: th.Tensor) -> th.Tensor:
        inputs = inputs * th.tensor([1.0, 1.0, 10.0])
        first, second = th.triu_indices(3, 3)
        return inputs[:, first] * inputs[:, second]


class QuadraticCritic(ContinuousCritic):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.q_networks = [nn.Sequential(Quadratic(), nn.Linear(6, 1)) for _ in range(self.n_critics)]
        for index, network in enumerate(self.q_networks):
            setattr(self, f"qf{index}", network)


class QuadraticPolicy(MlpPolicy):
    def make_critic(self, features_extractor: Any = None) -> Any:
        return QuadraticCritic(**self._update_features_extractor(self.critic_kwargs, features_extractor))


@pytest.mark.slow
def test_entropy_regularised_lqr() -> None:
    env = Spaces(spaces.Box(-10, 10, (2,), np.float32), spaces.Box(-10, 10, (1,), np.float32))
    model = soft_ac(env, policy=QuadraticPolicy, ent_coef=ALPHA, gamma=GAMMA, tau=0.05)
    rng = np.random.default_rng(0)
    for _ in range(20_000):
        state, action = rng.uniform(-2, 2, 2), rng.uniform(-3, 3, 1)
        reward = -(state @ Q @ state + action @ R @ action)
        next_state = A @ state + B @ action + rng.multivariate_normal(np.zeros(2), W)
        add(model, state.astype(np.float32), action / 10, reward, next_state.astype(np.float32), done=False)
    train_in_phases(model, {0.1: 1000, 0.03: 1000, 0.01: 1000, 0.003: 1000, 0.001: 1000}, batch_size=256)

    k, covariance, p, c = optimum()
    states = rng.uniform(-1, 1, (2000, 2))
    with th.no_grad():
        tensor = th.as_tensor(states, dtype=th.float32)
        _, log_std, _ = model.actor.get_action_dist_params(tensor)
        pi = model.head.pi(model.actor, tensor)
        value = model.head.expected_q(pi, model.critic, tensor, lambda q: q.mean(dim=0)) + ALPHA * pi.entropy
    np.testing.assert_allclose(-10 * model.actor.mu.weight.detach().numpy(), k, atol=0.05 * np.linalg.norm(k))
    assert (100 * (2 * log_std).exp()).mean().item() == pytest.approx(covariance.item(), rel=0.1)
    expected = c - np.einsum("bi,ij,bj->b", states, p, states)
    assert value.mean().item() == pytest.approx(expected.mean(), rel=0.02)
