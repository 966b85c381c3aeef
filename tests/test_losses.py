"""The formulas against numbers worked out by hand."""

import math

import pytest
import torch as th
from gymnasium import spaces
from torch.testing import assert_close

from sac_ext import losses
from sac_ext.heads import make_head
from sac_ext.heads.categorical import CategoricalActions


def test_soft_value() -> None:
    value = losses.soft_value(th.tensor([1.0, -2.0]), th.tensor([0.5, 0.25]), th.tensor(0.2))
    assert_close(value, th.tensor([1.1, -1.95]))


def test_td_target_bootstraps_only_where_not_done() -> None:
    target = losses.td_target(
        rewards=th.tensor([1.0, 1.0]), dones=th.tensor([0.0, 1.0]), discounts=0.9, next_value=th.tensor([10.0, 10.0])
    )
    assert_close(target, th.tensor([10.0, 1.0]))


def test_td_target_with_a_discount_per_transition() -> None:
    target = losses.td_target(
        rewards=th.zeros(2), dones=th.zeros(2), discounts=th.tensor([0.5, 0.25]), next_value=th.tensor([4.0, 4.0])
    )
    assert_close(target, th.tensor([2.0, 1.0]))


def test_critic_loss_is_summed_over_critics_and_averaged_over_the_batch() -> None:
    q_taken = th.tensor([[1.0, 2.0], [3.0, 4.0]])
    # 0.5 * ((1 + 0) / 2 + (1 + 4) / 2)
    assert losses.critic_loss(q_taken, th.tensor([2.0, 2.0])).item() == pytest.approx(1.5)


def test_actor_loss() -> None:
    loss = losses.actor_loss(th.tensor([1.0, 3.0]), th.tensor([2.0, 4.0]), th.tensor(0.5))
    assert loss.item() == pytest.approx(-(2.0 + 5.0) / 2)


@pytest.mark.parametrize(("entropy", "sign"), [(0.1, -1), (0.9, 1)])
def test_coefficient_grows_while_the_entropy_is_below_its_target(entropy: float, sign: int) -> None:
    log_ent_coef = th.tensor([math.log(0.2)], requires_grad=True)
    loss = losses.ent_coef_loss(log_ent_coef, th.tensor([entropy, entropy]), 0.5)
    assert loss.item() == pytest.approx(math.log(0.2) * (entropy - 0.5))
    (gradient,) = th.autograd.grad(loss, log_ent_coef)
    assert gradient.item() == pytest.approx(entropy - 0.5)
    assert math.copysign(1, gradient.item()) == sign


@pytest.mark.parametrize(("reduction", "expected"), [("min", [1.0, -4.0]), ("mean", [2.0, -1.0])])
def test_reductions_over_critics(reduction: str, expected: list[float]) -> None:
    assert_close(losses.REDUCTIONS[reduction](th.tensor([[1.0, 2.0], [3.0, -4.0]])), th.tensor(expected))


def test_categorical_expectation_and_entropy_are_exact_sums() -> None:
    probs = th.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    pi = CategoricalActions.of(probs.clamp(min=1e-30).log()[:, None])
    assert_close(pi.entropy, th.tensor([1.5 * math.log(2), 0.0]))

    def critic(_: th.Tensor) -> tuple[th.Tensor, ...]:
        return (th.tensor([[4.0, 0.0, 8.0], [1.0, 2.0, 3.0]]), th.tensor([[2.0, 4.0, 0.0], [5.0, 6.0, 7.0]]))

    q = make_head(spaces.Discrete(3)).expected_q(pi, critic, th.zeros(2), losses.REDUCTIONS["min"])
    # the minimum per action first, then the expectation: .5 * 2 + .25 * 0 + .25 * 0
    assert_close(q, th.tensor([1.0, 1.0]))


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.soft_value(th.zeros(3), th.zeros(3, 1), th.tensor(0.1)),
        lambda: losses.td_target(th.zeros(3, 1), th.zeros(3), 0.9, th.zeros(3)),
        lambda: losses.critic_loss(th.zeros(2, 3), th.zeros(3, 1)),
        lambda: losses.critic_loss(th.zeros(2, 3, 1), th.zeros(3, 1)),
    ],
)
def test_shapes_that_would_broadcast_are_refused(call) -> None:
    with pytest.raises(ValueError, match=r"expected tensors of one shape \(B,\)"):
        call()


def test_no_gradient_flows_into_target_coefficient_or_measured_entropy() -> None:
    leaves = [th.ones(2, requires_grad=True) for _ in range(3)]
    coefficient = th.tensor(0.5, requires_grad=True)
    (losses.critic_loss(leaves[0].expand(2, 2), leaves[1])).backward()
    losses.actor_loss(leaves[2], leaves[2], coefficient).backward()
    losses.ent_coef_loss(th.zeros(1, requires_grad=True), leaves[1], 0.1).backward()
    assert leaves[0].grad is not None
    assert leaves[2].grad is not None
    assert leaves[1].grad is None
    assert coefficient.grad is None
