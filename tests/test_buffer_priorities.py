"""Prioritised replay: what is drawn how often, what weights make up for it, and that SoftAC uses both."""

import math
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import DQN

from sac_ext import DeviceReplayBuffer, SoftAC, losses
from sac_ext.buffers.priorities import PATIENCE
from sac_ext.buffers.sum_tree import CHILDREN, SumTree
from tests.catalogue import ACTIONS, RandomEnv, small
from tests.compare import assert_same_models
from tests.host_sync import NoHostSync

CPU = th.device("cpu")
FAST: dict[str, Any] = {"seed": 0, "device": "cpu", "learning_starts": 20, "batch_size": 16, "buffer_size": 60}
PRIORITIZED = {"replay_buffer_kwargs": {"prioritized": True}}


# ---------------------------------------------------------------- the tree


@given(
    size=st.sampled_from([1, 2, CHILDREN - 1, CHILDREN, CHILDREN + 1, 3 * CHILDREN, CHILDREN**2 + 5]),
    writes=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_tree_finds_what_a_cumulative_sum_finds(size: int, writes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tree, expected = SumTree(size, CPU), np.zeros(size)
    for _ in range(writes):
        index = rng.integers(0, size, 50)
        weights = rng.integers(0, 4, 50).astype(float)  # whole numbers, so that sums are exact in any order
        tree.set(th.from_numpy(index), th.from_numpy(weights))
        expected[index] = 0
        np.maximum.at(expected, index, weights)
    np.testing.assert_array_equal(tree.weights, expected)
    assert tree.total.item() == expected.sum()
    if expected.sum() > 0:
        shares = rng.random(200)
        found = tree.find(th.from_numpy(shares)).numpy()
        np.testing.assert_array_equal(found, np.searchsorted(expected.cumsum(), shares * expected.sum(), side="right"))
    copy = SumTree(size, CPU)
    copy.fill(tree.weights)
    assert copy.total == tree.total


@given(seed=st.integers(0, 2**16), scale=st.sampled_from([1e-12, 1.0, 1e12]))
def test_tree_never_finds_a_weight_of_zero(seed: int, scale: float) -> None:
    """However sums are rounded, and at the very ends."""
    rng = np.random.default_rng(seed)
    weights = rng.random(1000) * scale * (rng.random(1000) < 0.05)
    weights[rng.integers(1000)] = scale
    tree = SumTree(1000, CPU)
    tree.set(th.arange(1000), th.from_numpy(weights))
    shares = np.concatenate([rng.random(500), [0.0, np.nextafter(1.0, 0.0), 1.0]])
    assert (weights[tree.find(th.from_numpy(shares)).numpy()] > 0).all()


# ---------------------------------------------------------------- the buffer


def filled(steps: int, length: int = 10, n_envs: int = 1, **options: Any) -> DeviceReplayBuffer:
    """Observations count the steps."""
    buffer = DeviceReplayBuffer(
        length * n_envs,
        spaces.Box(-np.inf, np.inf, (1,), np.float32),
        spaces.Discrete(2),
        device="cpu",
        n_envs=n_envs,
        prioritized=True,
        **options,
    )
    for step in range(steps):
        add(buffer, step)
    return buffer


def add(buffer: DeviceReplayBuffer, step: int) -> None:
    obs = np.full((buffer.n_envs, 1), step, np.float32) + np.linspace(0, 0.5, buffer.n_envs, dtype=np.float32)[:, None]
    zeros = np.zeros(buffer.n_envs)
    buffer.add(obs, obs, zeros.astype(int), zeros, zeros, [{}] * buffer.n_envs)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_draws_follow_the_priorities(alpha: float, n_envs: int) -> None:
    """Chi-square test of 60,000 draws against p^alpha, and the weights against their formula."""
    np.random.seed(0)
    beta = 0.7
    buffer = filled(25, 10, n_envs, alpha=alpha, beta=beta)
    size = 10 * n_envs
    buffer.sample(1)
    errors = np.random.default_rng(1).random(size) * 3
    buffer.update_priorities(th.arange(size), th.from_numpy(errors))
    probability = (errors + 1e-6) ** alpha
    probability /= probability.sum()
    counts = np.zeros(size)
    for batch in buffer.sample_many(20, 3000):
        index = batch.indices.numpy()
        counts += np.bincount(index, minlength=size)
        weights = (size * probability[index]) ** -beta
        np.testing.assert_allclose(batch.weights.flatten(), weights / weights.max(), rtol=1e-5)
        rows, envs = index // n_envs, index % n_envs
        np.testing.assert_array_equal(batch.observations.numpy(), buffer.observations[rows, envs])
    expected = 60_000 * probability
    chi_square = ((counts - expected) ** 2 / expected).sum()
    # mean size - 1, standard deviation sqrt(2 (size - 1)); draws from equal shares vary less than free ones
    assert chi_square < size - 1 + 4 * math.sqrt(2 * (size - 1))


def test_new_transitions_have_the_greatest_priority() -> None:
    buffer = filled(6, alpha=1.0)
    buffer.sample(4)
    buffer.update_priorities(th.arange(6), th.tensor([0.0, 1.0, 2.0, 5.0, 1.0, 0.0]))
    add(buffer, 6)
    buffer.sample(4)
    weights = buffer._priorities.tree.weights
    assert weights[6].item() == pytest.approx(5.0, abs=1e-5)
    assert weights[7:].sum() == 0  # not written yet, never drawn
    buffer.update_priorities(th.tensor([3, 6]), th.tensor([0.1, 0.1]))
    for step in range(7, 15):  # over the seam: rows 0 to 4 are new
        add(buffer, step)
    buffer.sample(4)
    np.testing.assert_allclose(weights[[0, 1, 2, 3, 4, 7, 8, 9]], 5.0, atol=1e-5)
    assert weights[6].item() == pytest.approx(0.1, abs=1e-5)


def test_a_transition_drawn_twice_gets_its_greater_error() -> None:
    buffer = filled(4, alpha=1.0)
    buffer.sample(4)
    buffer.update_priorities(th.tensor([1, 1, 1]), th.tensor([1.0, -3.0, 2.0]))
    assert buffer._priorities.tree.weights[1].item() == pytest.approx(3.0, abs=1e-5)


def test_beta_goes_by_the_progress() -> None:
    buffer = filled(10, alpha=1.0, beta=(0.5, 1.0))
    buffer.sample(1)
    buffer.update_priorities(th.arange(10), th.arange(10) + 1.0)
    for remaining, beta in ((1.0, 0.5), (0.5, 0.75), (0.0, 1.0)):
        buffer.set_progress_remaining(remaining)
        batch = buffer.sample(64)
        weights = (batch.indices.numpy() + 1.0) ** -beta
        np.testing.assert_allclose(batch.weights.flatten(), weights / weights.max(), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, "alpha must be between 0 and 1, got 1.5"),
        ({"beta": -0.1}, "beta, a number or .*, must be between 0 and 1"),
        ({"beta": (0.4, 0.5, 0.6)}, r"beta must be a number or \[start, end\]"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        filled(0, **options)


def test_a_plain_buffer_has_no_priorities() -> None:
    buffer = DeviceReplayBuffer(10, spaces.Box(-1, 1, (1,)), spaces.Discrete(2), device="cpu")
    with pytest.raises(ValueError, match="prioritized=True"):
        buffer.update_priorities(th.zeros(1, dtype=th.int64), th.zeros(1))


def test_an_algorithm_that_ignores_priorities_is_warned_of() -> None:
    model = DQN(
        "MlpPolicy",
        RandomEnv(actions="discrete"),
        replay_buffer_class=DeviceReplayBuffer,
        policy_kwargs=small(),
        train_freq=1,
        **PRIORITIZED,
        **FAST,
    )
    with pytest.warns(UserWarning, match="update_priorities was not called"):
        model.learn(20 + PATIENCE + 5)


# ---------------------------------------------------------------- SoftAC


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("options", [{}, {"n_steps": 3}, {"gradient_steps": 3}], ids=["plain", "n-steps", "many"])
def test_softac_updates_priorities_by_its_errors(
    actions: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    updates = []
    update = DeviceReplayBuffer.update_priorities
    monkeypatch.setattr(
        DeviceReplayBuffer,
        "update_priorities",
        lambda self, index, errors: (updates.append((index, errors)), update(self, index, errors)),
    )
    errors = []
    original = losses.td_errors
    monkeypatch.setattr(losses, "td_errors", lambda q, y: errors.append((q - y).abs().mean(0)) or original(q, y))
    env = RandomEnv(actions=actions)
    model = SoftAC("MlpPolicy", env, policy_kwargs=small(), **PRIORITIZED, **FAST, **options).learn(50)
    assert len(updates) == model._n_updates > 0
    for (index, told), computed in zip(updates, errors, strict=True):
        assert th.equal(told, computed)
        assert index.shape == told.shape == (16,)
    index, told = updates[-1]
    greatest = np.zeros(60)
    np.maximum.at(greatest, index.numpy(), told.double().numpy())
    weights = model.replay_buffer._priorities.tree.weights
    np.testing.assert_allclose(weights[index], (greatest[index] + 1e-6) ** 0.6, rtol=1e-6)


def test_weights_multiply_the_loss() -> None:
    """A weight of 0 takes a transition out of the critics' loss, 2 doubles it; weights of 1 change nothing."""
    q_taken, target = th.randn(2, 5), th.randn(5)
    plain = losses.critic_loss(q_taken, target)
    assert losses.critic_loss(q_taken, target, th.ones(5)).item() == pytest.approx(plain.item())
    weights = th.tensor([0.0, 2.0, 1.0, 1.0, 0.5])
    expected = 0.5 * ((q_taken - target) ** 2 * weights).mean(dim=1).sum()
    assert losses.critic_loss(q_taken, target, weights).item() == pytest.approx(expected.item())


def test_alpha_zero_weighs_all_alike() -> None:
    options = {"replay_buffer_kwargs": {"prioritized": True, "alpha": 0.0}}
    model = SoftAC("MlpPolicy", RandomEnv(), policy_kwargs=small(), **options, **FAST).learn(40)
    batch = model.replay_buffer.sample(32)
    assert th.equal(batch.weights, th.ones(32, 1))
    target = model._update.td_target(batch, th.tensor(0.1))
    critic_losses = [
        model._update._critic_loss(samples, target)[0].item() for samples in (batch, batch._replace(weights=None))
    ]
    assert critic_losses[0] == pytest.approx(critic_losses[1])


def test_training_is_repeatable() -> None:
    first, second = (
        SoftAC("MlpPolicy", RandomEnv(), policy_kwargs=small(), **PRIORITIZED, **FAST).learn(60) for _ in range(2)
    )
    assert_same_models(first, second)


def test_draws_and_updates_do_not_wait_for_the_device() -> None:
    buffer = filled(25, 10, 2)
    with NoHostSync():
        batch = buffer.sample(16)
        buffer.update_priorities(batch.indices, th.rand(16))


def test_errors_that_are_not_finite_change_nothing() -> None:
    buffer = filled(6, alpha=1.0)
    buffer.sample(4)
    buffer.update_priorities(th.arange(3), th.tensor([1.0, 2.0, 3.0]))
    before = buffer._priorities.tree.weights.clone()
    buffer.update_priorities(th.arange(3), th.tensor([np.nan, np.inf, -np.inf]))
    assert th.equal(buffer._priorities.tree.weights, before)
    assert buffer._priorities.greatest.item() == pytest.approx(3.0, abs=1e-5)


def test_what_was_never_added_gets_no_priority() -> None:
    buffer = filled(3)
    buffer.sample(4)
    buffer.update_priorities(th.tensor([1, 7]), th.tensor([1.0, 1.0]))
    assert buffer._priorities.tree.weights[3:].sum() == 0


@pytest.mark.parametrize(
    ("index", "errors"),
    [
        (th.arange(3), th.rand(2)),
        (th.arange(2), th.rand(3)),
        (th.arange(3), th.rand(3, 1)),
        (th.zeros(1, 3, dtype=th.int64), th.rand(1, 3)),
        (th.rand(3), th.rand(3)),
    ],
)
def test_errors_of_another_shape_are_refused(index: th.Tensor, errors: th.Tensor) -> None:
    buffer = filled(5)
    buffer.sample(4)
    before = buffer._priorities.tree.weights.clone()
    with pytest.raises(ValueError, match=r"indices must be \(B,\) integers, with td_errors of the same shape"):
        buffer.update_priorities(index, errors)
    assert th.equal(buffer._priorities.tree.weights, before)


def test_an_empty_buffer_has_no_priorities() -> None:
    with pytest.raises(ValueError, match="the replay buffer is empty"):
        filled(0).update_priorities(th.arange(1), th.rand(1))


def test_new_transitions_of_several_environments() -> None:
    """Exactly those that were written, also when they go once around the ring between two draws."""
    buffer = filled(2, 5, n_envs=2, alpha=1.0)
    for total in (2, 4, 7, 12, 30):
        while buffer.storage.count < total:
            add(buffer, buffer.storage.count)
        buffer.sample(4)
        written = np.zeros((5, 2), bool)
        written[: min(total, 5)] = True
        np.testing.assert_array_equal(buffer._priorities.tree.weights.numpy().reshape(5, 2) > 0, written)
        buffer.update_priorities(th.arange(min(total, 5) * 2), th.full((min(total, 5) * 2,), 0.5))
        add(buffer, buffer.storage.count)
        buffer.sample(4)
        new = (total % 5) * 2
        weights = buffer._priorities.tree.weights.numpy()
        np.testing.assert_allclose(weights[new : new + 2], 1.0, atol=1e-5)
        assert (np.isclose(weights, 1.0)).sum() == 2


def test_weights_are_relative_to_their_own_batch() -> None:
    buffer = filled(10, alpha=1.0)
    buffer.sample(1)
    buffer.update_priorities(th.arange(10), th.arange(10) + 0.1)
    for batch in buffer.sample_many(5, 2):
        assert batch.weights.max() == 1
        assert batch.weights.shape == (2, 1)


def test_each_of_many_gradient_steps_draws_by_the_new_priorities() -> None:
    buffer = filled(10)
    batches = buffer.batches(3, 4)
    for _ in range(3):
        next(batches)
        assert buffer._priorities._unanswered == 1
        buffer.update_priorities(th.arange(2), th.rand(2))


def test_training_moves_beta_and_is_not_warned_of() -> None:
    options = {"replay_buffer_kwargs": {"prioritized": True, "beta": [0.5, 1.0]}}
    model = SoftAC("MlpPolicy", RandomEnv(), policy_kwargs=small(), **options, **FAST).learn(PATIENCE + 50)
    assert model.replay_buffer._progress_remaining == pytest.approx(0.0, abs=0.01)


def test_the_update_weighs_its_critic_loss() -> None:
    model = SoftAC("MlpPolicy", RandomEnv(), policy_kwargs=small(), **PRIORITIZED, **FAST).learn(40)
    batch = model.replay_buffer.sample(16)
    target = model._update.td_target(batch, th.tensor(0.1))
    values = [
        model._update._critic_loss(batch._replace(weights=factor * batch.weights), target)[0].item()
        for factor in (1.0, 3.0)
    ]
    assert values[1] == pytest.approx(3 * values[0])


def test_priorities_count_in_the_bytes() -> None:
    size = (1000, spaces.Box(-1, 1, (1,)), spaces.Discrete(2), "cpu")
    plain, prioritized = DeviceReplayBuffer(*size), DeviceReplayBuffer(*size, prioritized=True)
    prioritized.storage  # noqa: B018
    tree = sum(level.nbytes for level in prioritized._priorities.tree._levels)
    assert prioritized.nbytes - plain.nbytes == tree > 8000


def test_beta_stays_at_its_end_where_the_last_rollout_goes_beyond_the_steps() -> None:
    model = SoftAC(
        "MlpPolicy", RandomEnv(), policy_kwargs=small(), train_freq=(1, "episode"), **FAST | {"learning_starts": 2}
    )
    model.replay_buffer = DeviceReplayBuffer(
        60, RandomEnv().observation_space, RandomEnv().action_space, prioritized=True
    )
    told = []
    tell = model.replay_buffer.set_progress_remaining
    model.replay_buffer.set_progress_remaining = lambda progress: told.append(progress) or tell(progress)
    model.learn(3)
    assert model.num_timesteps > 3
    assert told[-1] == 0
