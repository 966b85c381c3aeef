"""What SoftAC converges to against fixed points computed without reinforcement learning (see ``oracles``)."""

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces

from sac_ext import SoftAC
from tests.oracles import Spaces, add, ent_coef, q_and_policy, random_mdp, soft_ac, train_in_phases

ONE = np.ones(1, dtype=np.float32)
CONSTANT = spaces.Box(0, 1, (1,), np.float32)
ONE_CRITIC = {"policy_kwargs": {"net_arch": [], "n_critics": 1}}
BANDIT = np.array([1.0, 0.5, 0.0, -0.5])


def bandit(**kwargs) -> SoftAC:
    """Four actions, one step."""
    model = soft_ac(Spaces(CONSTANT, spaces.Discrete(4)), gamma=0.0, **kwargs)
    for action, reward in enumerate(BANDIT):
        add(model, ONE, action, reward, ONE, done=True)
    return model


@pytest.mark.parametrize(("rho", "expected"), [(0.5, 0.345815), (0.98, 2.351)])
def test_bandit_coefficient_and_policy(rho: float, expected: float) -> None:
    """The coefficient at which softmax(q / alpha) has the target entropy."""
    model = bandit(target_entropy=f"fraction:{rho}")
    train_in_phases(model, {0.03: 500, 0.003: 300}, batch_size=32)
    policy = np.exp(BANDIT / expected) / np.exp(BANDIT / expected).sum()
    q, probabilities = q_and_policy(model, ONE[None])
    np.testing.assert_allclose(q[0], BANDIT, atol=0.01)
    np.testing.assert_allclose(probabilities[0], policy, atol=0.02)
    assert ent_coef(model) == pytest.approx(expected, rel=0.05)
    assert -(policy * np.log(policy)).sum() == pytest.approx(rho * math.log(4), abs=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"policy_delay": 2},
        *(pytest.param(each, marks=pytest.mark.slow) for each in ({"critic_reduction": "min"}, ONE_CRITIC)),
    ],
)
def test_tabular_mdp_reaches_the_soft_optimum(options: dict) -> None:
    """Values and policy of soft value iteration, with terminals and with time limits that must not count as such."""
    mdp = random_mdp()
    q, policy = mdp.soft_optimum(ent_coef=0.3)
    model = soft_ac(mdp.env(), ent_coef=0.3, gamma=mdp.gamma, tau=0.05, **options)
    mdp.fill(model)
    assert model.replay_buffer.timeouts.any()
    train_in_phases(model, {0.03: 1200, 0.003: 600})
    alive = ~mdp.terminal
    learned_q, learned_policy = (table[alive] for table in q_and_policy(model, np.eye(len(mdp.rewards))))
    np.testing.assert_allclose(learned_q, q[alive], atol=0.02 * np.ptp(q) + 0.05)
    divergence = (policy[alive] * np.log(policy[alive] / learned_policy)).sum(axis=1)
    assert divergence.max() < 0.01


@pytest.mark.parametrize(
    ("space", "masked"),
    [
        pytest.param(spaces.Discrete(4), False, marks=pytest.mark.slow),
        (spaces.Discrete(4), True),
        pytest.param(spaces.MultiDiscrete([2, 3]), False, marks=pytest.mark.slow),
        (spaces.MultiDiscrete([2, 3]), True),
    ],
    ids=str,
)
def test_tabular_mdp_with_masks_and_components(space: Any, masked: bool) -> None:
    """What is not allowed has no probability and no part in any value; joint critics of components find the optimum."""
    mdp = random_mdp(action_space=space, masked=masked)
    q, policy = mdp.soft_optimum(ent_coef=0.3)
    model = soft_ac(mdp.env(), ent_coef=0.3, gamma=mdp.gamma, tau=0.05)
    mdp.fill(model)
    train_in_phases(model, {0.03: 1500, 0.003: 900}, batch_size=128)
    learned_q, learned_policy = q_and_policy(model, np.eye(len(mdp.rewards)), mdp.masks)
    known = mdp.allowed() & ~mdp.terminal[:, None]
    np.testing.assert_allclose(learned_q[known], q[known], atol=0.02 * np.ptp(q) + 0.05)
    np.testing.assert_array_equal(learned_policy[~mdp.allowed()], 0)
    ratios = np.where(known, policy, 1) / np.where(known, learned_policy, 1)
    assert (policy * np.log(ratios)).sum(axis=1).max() < 0.01


def test_without_entropy_it_is_q_learning() -> None:
    """With a coefficient of 0 the values are those of hard value iteration, and the policy is greedy."""
    mdp = random_mdp(seed=2)
    q = np.zeros_like(mdp.rewards)
    for _ in range(500):
        q = mdp.rewards + mdp.gamma * mdp.probabilities @ np.where(mdp.terminal, 0.0, q.max(axis=1))
    model = soft_ac(mdp.env(), ent_coef=0.0, gamma=mdp.gamma, tau=0.05)
    mdp.fill(model)
    train_in_phases(model, {0.03: 1500, 0.003: 600})
    alive = ~mdp.terminal
    learned_q, policy = (table[alive] for table in q_and_policy(model, np.eye(len(mdp.rewards))))
    np.testing.assert_allclose(learned_q, q[alive], atol=0.02 * np.ptp(q) + 0.05)
    np.testing.assert_array_equal(policy.argmax(axis=1), q[alive].argmax(axis=1))


def test_the_value_at_the_optimum_is_that_of_soft_q_learning() -> None:
    """``E_pi[Q] + alpha H(pi) = alpha logsumexp(Q / alpha)``: no policy has a higher one (Haarnoja 2017, eq. 4)."""
    mdp = random_mdp(seed=3)
    model = soft_ac(mdp.env(), ent_coef=0.3, gamma=mdp.gamma, tau=0.05)
    mdp.fill(model)
    train_in_phases(model, {0.03: 1200, 0.003: 600})
    q, policy = q_and_policy(model, np.eye(len(mdp.rewards)))
    value = (policy * (q - 0.3 * np.log(policy))).sum(axis=1)
    soft = 0.3 * np.log(np.exp(q / 0.3).sum(axis=1))
    assert (value <= soft + 1e-5).all()
    np.testing.assert_allclose(value[~mdp.terminal], soft[~mdp.terminal], atol=0.01)


def test_without_entropy_in_the_critic_the_values_are_those_of_expected_rewards() -> None:
    """``Q = r + gamma P E_pi[Q]`` for the policy that was learned."""
    mdp = random_mdp(seed=1)
    model = soft_ac(mdp.env(), ent_coef=0.3, gamma=mdp.gamma, tau=0.05, entropy_in_critic=0.0)
    mdp.fill(model)
    train_in_phases(model, {0.03: 1200, 0.003: 600})
    learned_q, policy = q_and_policy(model, np.eye(len(mdp.rewards)))
    value = np.where(mdp.terminal, 0.0, (policy * learned_q).sum(axis=1))
    expected = mdp.rewards + mdp.gamma * mdp.probabilities @ value
    np.testing.assert_allclose(learned_q[~mdp.terminal], expected[~mdp.terminal], atol=0.02 * np.ptp(expected) + 0.05)
    softmax = np.exp((expected - expected.max(axis=1, keepdims=True)) / 0.3)
    softmax /= softmax.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(policy[~mdp.terminal], softmax[~mdp.terminal], atol=0.1)  # the actor keeps its entropy


def go_or_stay(**kwargs) -> SoftAC:
    """Three actions that cost 1; the first ends the episode."""
    model = soft_ac(Spaces(CONSTANT, spaces.Discrete(3)), gamma=0.99, tau=0.05, **kwargs)
    for action in range(3):
        add(model, ONE, action, -1.0, ONE, done=action == 0)
    return model


def test_go_or_stay() -> None:
    model = go_or_stay(target_entropy="fraction:0.5")
    train_in_phases(model, {0.03: 1000, 0.003: 700}, batch_size=32)
    (q,), (policy,) = q_and_policy(model, ONE[None])
    coefficient = ent_coef(model)
    assert coefficient == pytest.approx(0.391713, rel=0.05)
    assert policy[0] == pytest.approx(0.840538, abs=0.02)
    assert (policy * (q - coefficient * np.log(policy))).sum() == pytest.approx(-0.931955, abs=0.02)


def test_go_or_stay_is_uniform_where_the_bonus_outweighs_the_cost() -> None:
    """At ``alpha = 1 / ln n`` the value is 0 and the policy uniform, whatever gamma."""
    model = go_or_stay(ent_coef=1 / math.log(3))
    train_in_phases(model, {0.03: 1000, 0.003: 1000}, batch_size=32)
    (q,), (policy,) = q_and_policy(model, ONE[None])
    np.testing.assert_allclose(policy, 1 / 3, atol=0.02)
    assert (policy * (q - np.log(policy) / math.log(3))).sum() == pytest.approx(0.0, abs=0.02)


def test_go_or_stay_beyond_the_unstable_root_is_stopped_by_the_bound() -> None:
    """Started above the peak of H(alpha), a high target drives the coefficient up without end."""
    model = go_or_stay(target_entropy="fraction:0.98", ent_coef="auto_1.2", learning_rate=0.03)
    with pytest.warns(UserWarning, match="ent_coef is held at its bound 10"):
        train_in_phases(model, dict.fromkeys((0.03, 0.0301, 0.0302), 200), batch_size=32)
    assert ent_coef(model) == pytest.approx(10, rel=1e-5)


def gaussian_bandit(**kwargs: Any) -> SoftAC:
    model = soft_ac(
        Spaces(CONSTANT, spaces.Box(-1, 1, (1,), np.float32)),
        gamma=0.0,
        policy_kwargs={"net_arch": {"pi": [], "qf": [32, 32]}},
        **kwargs,
    )
    for action in np.random.default_rng(0).uniform(-1, 1, 3000):
        add(model, ONE, [action], -2 * (action - 0.5) ** 2, ONE, done=True)
    return model


def test_squashed_gaussian_bandit() -> None:
    """``r = -k/2 (a - mu)^2`` with k=4, mu=.5 and alpha=.1: the best squashed Gaussian, by Gauss-Hermite quadrature."""
    model = gaussian_bandit(ent_coef=0.1)
    train_in_phases(model, {0.01: 400, 0.003: 600, 0.001: 600}, batch_size=128)
    with th.no_grad():
        mean, log_std, _ = model.actor.get_action_dist_params(th.ones(1, 1))
        actions, log_prob = model.actor.action_log_prob(th.ones(100_000, 1))
    assert mean.item() == pytest.approx(0.5636, abs=0.02)
    assert log_std.exp().item() == pytest.approx(0.2076, rel=0.05)
    assert -log_prob.mean().item() == pytest.approx(-0.4871, abs=0.05)
    assert actions.mean().item() == pytest.approx(0.4952, abs=0.01)


def test_without_entropy_and_with_a_delayed_policy_it_is_td3() -> None:
    """On the same bandit: the policy follows the gradient of the critic, every other step, to the best action alone."""
    model = gaussian_bandit(ent_coef=0.0, policy_delay=2)
    train_in_phases(model, {0.01: 800, 0.003: 600, 0.001: 600}, batch_size=128)
    assert len(model.actor.optimizer.state) > 0
    assert {int(state["step"]) for state in model.critic.optimizer.state.values()} == {2000}
    assert {int(state["step"]) for state in model.actor.optimizer.state.values()} == {1000}
    with th.no_grad():
        mean, log_std, _ = model.actor.get_action_dist_params(th.ones(1, 1))
    assert mean.tanh().item() == pytest.approx(0.5, abs=0.03)
    assert log_std.exp().item() < 0.05
