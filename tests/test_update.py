"""One gradient step: what each loss may change, and what each option does."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.logger import configure
from torch.testing import assert_close

from sac_ext import SoftAC, metrics
from sac_ext.torch_settings import unvalidated_distributions
from tests.catalogue import ACTIONS, SMALL, RandomEnv
from tests.compare import assert_equal, td_target
from tests.host_sync import NoHostSync


def ready(actions: str = "box", **kwargs: Any) -> SoftAC:
    """A model with 40 random transitions, before its first update."""
    options: dict[str, Any] = {"seed": 0, "learning_starts": 40, "buffer_size": 500, "policy_kwargs": SMALL}
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), **options | kwargs)
    model.learn(40)
    assert model._n_updates == 0
    model.set_logger(configure(None, []))
    return model


def run_step(model: SoftAC, batch: Any, update_actor: bool = True, update_target: bool = True) -> Any:
    model._refresh_update()
    with unvalidated_distributions():
        return model._run_step(batch, update_actor=update_actor, update_target=update_target).metrics


def snapshot(model: SoftAC) -> dict[str, Any]:
    coefficient = model.ent_coef_tensor if model.log_ent_coef is None else model.log_ent_coef.detach()
    networks = {name: getattr(model, name).state_dict() for name in ("actor", "critic", "critic_target")}
    return copy.deepcopy(networks | {"ent_coef": coefficient})


def changed_by(model: SoftAC, **step: bool) -> set[str]:
    before = snapshot(model)
    run_step(model, model.replay_buffer.sample(16), **step)
    after = snapshot(model)
    return {name for name in before if not same(before[name], after[name])}


def same(left: Any, right: Any) -> bool:
    try:
        assert_equal(left, right)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("actions", ACTIONS)
class TestGradientsReachOnlyWhatTheyShould:
    def test_full_step(self, actions: str) -> None:
        changed = changed_by(ready(actions), update_actor=True, update_target=True)
        assert changed == {"actor", "critic", "critic_target", "ent_coef"}

    def test_delayed_step_changes_the_critics_only(self, actions: str) -> None:
        assert changed_by(ready(actions), update_actor=False, update_target=False) == {"critic"}

    def test_targets_move_only_when_asked(self, actions: str) -> None:
        changed = changed_by(ready(actions), update_actor=False, update_target=True)
        assert changed == {"critic", "critic_target"}

    def test_the_critics_loss_leaves_no_gradient_elsewhere(self, actions: str) -> None:
        model = ready(actions)
        run_step(model, model.replay_buffer.sample(16), update_actor=False)
        others = [*model.actor.parameters(), *model.critic_target.parameters(), model.log_ent_coef]
        assert all(parameter.grad is None for parameter in others)
        assert all(parameter.grad is not None for parameter in model.critic.parameters())

    def test_the_actors_loss_leaves_no_gradient_on_the_critics(self, actions: str) -> None:
        """Their gradients after a full step are those of the critics' loss alone."""
        full, critics_only = ready(actions), ready(actions)
        batch = full.replay_buffer.sample(16)
        for model, update_actor in ((full, True), (critics_only, False)):
            draw_the_same_actions_at_each_call(model)
            run_step(model, batch, update_actor=update_actor)
        gradients = [[parameter.grad for parameter in model.critic.parameters()] for model in (full, critics_only)]
        assert_equal(*gradients)

    def test_what_is_frozen_in_mid_training_stays(self, actions: str) -> None:
        model = ready(actions)
        model.train(gradient_steps=2, batch_size=16)
        frozen = [*model.actor.latent_pi.parameters(), *model.critic.qf0.parameters()]
        for parameter in frozen:
            parameter.requires_grad_(False)
        before = copy.deepcopy(frozen)
        model.train(gradient_steps=2, batch_size=16)
        assert_equal(before, frozen)

    def test_a_frozen_actor_stays_and_the_critics_train_on(self, actions: str) -> None:
        model = ready(actions, ent_coef=0.1)
        model.train(gradient_steps=1, batch_size=16)
        for parameter in model.actor.parameters():
            parameter.requires_grad_(False)
        assert changed_by(model, update_actor=True, update_target=False) == {"critic"}

    def test_nothing_waits_for_the_device(self, actions: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """No ``item()``, ``bool()`` or ``if`` on a tensor; Adam's own, on its step counter, is left out."""
        bounds = {"ent_coef_bounds": (0.01, 2.0), "max_grad_norm": 1.0}
        model = ready(actions, **bounds)
        batch = model.replay_buffer.sample(16)
        monkeypatch.setattr(th.optim.Adam, "step", lambda self: None)
        with NoHostSync():
            run_step(model, batch)


def draw_the_same_actions_at_each_call(model: SoftAC) -> None:
    pi = model.head.pi

    def seeded(actor: Any, obs: Any, *masks: Any) -> Any:
        th.manual_seed(0)
        return pi(actor, obs, *masks)

    model.head.pi = seeded  # type: ignore[method-assign]


def test_the_guard_against_waiting_notices() -> None:
    with NoHostSync(), pytest.raises(AssertionError, match="waits"):
        th.ones(1).item()


def test_the_discrete_actor_gradient_is_the_exact_one() -> None:
    """``d/dlogits`` of ``sum_a pi (alpha log pi - Q)`` by autograd on a plain table."""
    model = ready("discrete", ent_coef=0.3, critic_learning_rate=0.0, max_grad_norm=None)
    batch = model.replay_buffer.sample(16)
    with th.no_grad():
        q = th.stack(model.critic(batch.observations)).mean(dim=0)
    logits = model.actor.action_logits(batch.observations)
    log_pi = th.log_softmax(logits, dim=1)
    loss = (log_pi.exp() * (0.3 * log_pi - q)).sum(dim=1).mean()
    expected = th.autograd.grad(loss, list(model.actor.parameters()))
    for group in model.critic.optimizer.param_groups:
        group["lr"] = 0.0
    measured = run_step(model, batch, update_target=False)
    assert_close(measured["actor_loss"], loss.detach())
    for parameter, gradient in zip(model.actor.parameters(), expected, strict=True):
        assert_close(parameter.grad, gradient)


def td_targets(model: SoftAC, change: Any = lambda batch: batch) -> th.Tensor:
    """The TD target of a step on a fixed batch."""
    np.random.seed(0)
    th.manual_seed(0)
    return td_target(model, change(model.replay_buffer.sample(16)), model._update._ent_coef())


@pytest.mark.parametrize("actions", ACTIONS)
def test_the_target_asks_the_current_policy_and_not_the_replayed_action(actions: str) -> None:
    expected = td_targets(ready(actions))
    permuted = td_targets(ready(actions), lambda batch: batch._replace(actions=batch.actions.flip(0)))
    assert th.equal(expected, permuted)
    rewards = td_targets(ready(actions), lambda batch: batch._replace(rewards=batch.rewards.flip(0)))
    assert not th.equal(expected, rewards)


@pytest.mark.parametrize("how_random", [0.0, 1.0, 10.0])
def test_the_target_is_the_expectation_of_the_current_policy(how_random: float) -> None:
    """From a uniform to a nearly deterministic one: expected SARSA with the entropy of it."""
    model, ent_coef = ready("discrete", critic_reduction="min", entropy_in_critic=1.0, gamma=0.9), th.tensor(0.3)
    batch = model.replay_buffer.sample(16)
    with th.no_grad():
        model.actor.logits.weight.copy_(how_random * th.randn_like(model.actor.logits.weight))
        log_probs = model.actor.action_logits(batch.next_observations).log_softmax(dim=1)
        q_values = th.stack(model.critic_target(batch.next_observations)).min(dim=0).values
    value = (log_probs.exp() * (q_values - ent_coef * log_probs)).sum(dim=1)
    expected = batch.rewards[:, 0] + 0.9 * (1 - batch.dones[:, 0]) * value
    assert_close(td_target(model, batch, ent_coef), expected)


@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_entropy_in_critic_scales_the_bonus_in_the_target(actions: str) -> None:
    targets = {weight: td_targets(ready(actions, ent_coef=0.5, entropy_in_critic=weight)) for weight in (0.0, 0.5, 1.0)}
    assert_close(targets[0.5], (targets[0.0] + targets[1.0]) / 2)
    without_coefficient = td_targets(ready(actions, ent_coef=0.0))
    assert_close(targets[0.0], without_coefficient)
    assert not th.allclose(targets[0.0], targets[1.0])


@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_critic_reduction(actions: str) -> None:
    options = {"ent_coef": 0.0, "gamma": 1.0}
    mean = td_targets(ready(actions, critic_reduction="mean", **options))
    minimum = td_targets(ready(actions, critic_reduction="min", **options))
    assert (minimum <= mean).all()
    assert (minimum < mean).any()
    default = td_targets(ready(actions, **options))
    assert th.equal(default, minimum if actions == "box" else mean)


def test_policy_delay_counts_over_calls() -> None:
    model = ready(policy_delay=3)
    updates_with_actor = []
    for _ in range(7):
        before = copy.deepcopy(model.actor.state_dict())
        model.train(gradient_steps=1, batch_size=16)
        if not same(before, model.actor.state_dict()):
            updates_with_actor.append(model._n_updates)
    assert updates_with_actor == [3, 6]


def test_delayed_steps_log_no_actor_loss() -> None:
    model = ready(policy_delay=2)
    model.train(gradient_steps=1, batch_size=16)
    assert "train/actor_loss" not in model.logger.name_to_value
    assert "train/critic_loss" in model.logger.name_to_value
    model.train(gradient_steps=1, batch_size=16)
    assert "train/actor_loss" in model.logger.name_to_value


def test_max_grad_norm() -> None:
    model = ready(max_grad_norm=0.01)
    model.train(gradient_steps=1, batch_size=16)
    for network in (model.actor, model.critic):
        norm = th.stack([parameter.grad.norm() for parameter in network.parameters()]).norm()
        assert norm.item() == pytest.approx(0.01, rel=1e-3)
    unbounded = ready()
    unbounded.train(gradient_steps=1, batch_size=16)
    assert th.stack([parameter.grad.norm() for parameter in unbounded.critic.parameters()]).norm() > 0.1


def train_often(model: SoftAC) -> None:
    for _ in range(30):
        model.train(gradient_steps=1, batch_size=16)


@pytest.mark.parametrize(("bounds", "target"), [((0.9, 2.0), 0.1), ((0.1, 1.1), 1.38)])
def test_ent_coef_bounds_hold_and_warn_once(bounds: tuple[float, float], target: float) -> None:
    model = ready("discrete", ent_coef="auto_1.0", ent_coef_bounds=bounds, target_entropy=target, learning_rate=0.05)
    held = bounds[0] if target < 1 else bounds[1]
    with pytest.warns(UserWarning, match=f"ent_coef is held at its bound {held:g}.*{target:g} nats") as warned:
        train_often(model)
    assert len(warned) == 1
    assert model.log_ent_coef.detach().exp().item() == pytest.approx(held, rel=1e-5)


def test_each_learn_warns_of_a_held_bound_again() -> None:
    options = {"ent_coef": "auto_1.0", "ent_coef_bounds": (0.9, 2.0), "target_entropy": 0.1, "learning_rate": 0.05}
    model = ready("discrete", **options)
    for _ in range(2):
        with pytest.warns(UserWarning, match="held at its bound"):
            model.learn(75)


def test_auto_starts_inside_the_bounds() -> None:
    model = ready("discrete", ent_coef_bounds=(0.3, 2.0))
    assert model.log_ent_coef.detach().exp().item() == pytest.approx(0.3)


def test_a_start_at_a_bound_that_is_left_again_does_not_warn() -> None:
    model = ready("discrete", ent_coef="auto_1.0", ent_coef_bounds=(1.0, math.inf), target_entropy=1.386)
    for _ in range(3):
        model.train(gradient_steps=1, batch_size=16)
    assert model.log_ent_coef.item() > 0


def test_ent_coef_zero_runs() -> None:
    model = ready(ent_coef=0.0)
    model.train(gradient_steps=5, batch_size=16)
    assert model.logger.name_to_value["train/ent_coef"] == 0.0
    assert "train/ent_coef_loss" not in model.logger.name_to_value


@pytest.mark.parametrize("schedule", ["lin_0.4", lambda progress: 0.4 * progress])
def test_a_scheduled_coefficient(schedule: Any) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(), ent_coef=schedule, learning_starts=10, policy_kwargs=SMALL)
    model.learn(40, log_interval=1000)
    assert model.logger.name_to_value["train/ent_coef"] == pytest.approx(0.0, abs=1e-6)
    model._current_progress_remaining = 0.25
    model.train(gradient_steps=1, batch_size=16)
    assert model.logger.name_to_value["train/ent_coef"] == pytest.approx(0.1)


def test_what_users_set_on_the_model_takes_effect() -> None:
    model = ready(ent_coef=0.1)
    model.tau = 1.0
    model.ent_coef_tensor = th.tensor(0.7)
    model.actor.optimizer = th.optim.SGD(model.actor.parameters(), lr=0.0)
    before = copy.deepcopy(model.actor.state_dict())
    model.learning_rate = 0.0
    model._setup_lr_schedule()
    model.train(gradient_steps=1, batch_size=16)
    assert model.logger.name_to_value["train/ent_coef"] == pytest.approx(0.7)
    assert_equal(dict(model.critic.named_parameters()), dict(model.critic_target.named_parameters()))
    assert_equal(before, model.actor.state_dict())


@pytest.mark.parametrize("tensor", [th.tensor([0.7]), th.tensor([[0.7]], dtype=th.float64)])
def test_a_coefficient_of_another_shape_put_there_by_the_user(tensor: th.Tensor) -> None:
    model = ready(ent_coef="0.1")
    model.ent_coef_tensor = tensor
    model.train(gradient_steps=2, batch_size=16)
    assert model.logger.name_to_value["train/ent_coef"] == pytest.approx(0.7)


def test_a_subclass_may_set_learning_rates_its_own_way() -> None:
    calls = []

    class Own(SoftAC):
        def _update_learning_rate(self, optimizers: Any) -> None:
            calls.append(len(optimizers))
            super()._update_learning_rate(optimizers)

    Own("MlpPolicy", RandomEnv(), learning_starts=10, policy_kwargs=SMALL).learn(15)
    assert calls == [3] * 5


def test_very_long_calls_fetch_in_between(monkeypatch: pytest.MonkeyPatch) -> None:
    means = []
    for limit in (7, 10_000):
        monkeypatch.setattr(metrics, "MAX_PENDING", limit)
        model = ready()
        model.train(gradient_steps=9, batch_size=16)
        means.append(dict(model.logger.name_to_value))
    assert means[0] == means[1]


def test_no_gradient_steps_change_nothing() -> None:
    model = ready()
    before = snapshot(model)
    model.train(gradient_steps=0, batch_size=16)
    assert_equal(before, snapshot(model))


def test_the_step_hands_back_device_scalars_only() -> None:
    model = ready()
    measured = run_step(model, model.replay_buffer.sample(16))
    assert set(measured) == {"ent_coef", "entropy", "ent_coef_loss", "critic_loss", "actor_loss"}
    assert all(value.shape == () and not value.requires_grad for value in measured.values())


def test_logged_values_are_means_over_the_call() -> None:
    model = ready()
    model.train(gradient_steps=1, batch_size=16)
    first = model.logger.name_to_value["train/ent_coef"]
    model.train(gradient_steps=50, batch_size=16)
    mean, last = model.logger.name_to_value["train/ent_coef"], model.log_ent_coef.detach().exp().item()
    assert min(first, last) < mean < max(first, last)


@pytest.mark.parametrize("mode", [True, False])
def test_the_training_mode_reaches_every_module(mode: bool) -> None:
    policy = ready().policy
    for network in (policy, policy.actor, policy.critic):
        policy.set_training_mode(not mode)
        network.train(mode)
        policy.actor.latent_pi.train(not mode)
        policy.set_training_mode(mode)
        assert all(module.training == mode for part in (policy.actor, policy.critic) for module in part.modules())
        assert policy.training == mode
