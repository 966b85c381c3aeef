"""What an environment does not allow has no part in any value, and the entropy is that of what it allows."""

from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib.common.wrappers import ActionMasker
from torch.testing import assert_close

from sac_ext import SoftAC, losses
from sac_ext.heads import make_head
from tests.catalogue import CRITICS, DISCRETE, SMALL, MaskedEnv, RandomEnv
from tests.compare import td_target
from tests.masked import FAST, masked
from tests.modes import assert_close_models, ready, train


@pytest.mark.parametrize("actions", DISCRETE)
@pytest.mark.parametrize("critic", CRITICS)
def test_values_of_what_is_not_allowed_do_not_count(actions: str, critic: str) -> None:
    """Neither in the target nor in the actor's gradient, however large they are."""
    model = masked(actions, policy_kwargs=SMALL | {"critic": critic}, critic_reduction="min").learn(40)
    batch = model.replay_buffer.sample(16)
    batch = batch._replace(dones=th.zeros_like(batch.dones))
    n_values = batch.action_masks.shape[1]
    first = model.head.code.environment_components.first
    allowed, next_allowed = th.zeros(2, 16, n_values, dtype=th.bool)
    allowed[:, first] = True  # the first value of each component, and afterwards the second one
    next_allowed[:, first + 1] = True
    batch = batch._replace(action_masks=allowed, next_action_masks=next_allowed)
    results = []
    for change in (0.0, 1e3):
        with th.no_grad():
            for critic_networks, masks in ((model.critic, allowed), (model.critic_target, next_allowed)):
                for q_network in critic_networks.q_networks:
                    if critic == "local":
                        q_network[0].weight[:, -n_values:] += change * ~masks[0]
                    else:
                        forbidden = ~model.head.code.policy_masks(masks)[0]
                        q_network[-1].bias[-len(forbidden) :] += change * forbidden
        th.manual_seed(0)
        pi = model.head.pi(model.actor, batch.observations, allowed)
        q = model.head.expected_q(pi, model.critic, batch.observations, losses.REDUCTIONS["min"])
        results.append(
            (q, *th.autograd.grad(q.sum(), list(model.actor.parameters())), td_target(model, batch, th.tensor(0.1)))
        )
    for before, after in zip(*results, strict=True):
        assert_close(before, after)
        assert before.abs().max() < 100


@pytest.mark.parametrize("space", [spaces.Discrete(5), spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(2)], ids=str)
@pytest.mark.parametrize("critic", CRITICS)
def test_the_masked_policy_is_the_policy_given_what_is_allowed(space: spaces.Space, critic: str) -> None:
    head = make_head(space, critic=critic)
    mask = th.tensor([True, False, True, True, False])[: sum(head.mask_sizes)]
    logits = th.randn(1, head.code.components.n_values, requires_grad=True)
    masks = head.code.policy_masks(mask[None])
    log_probs = head.code.components.log_probs(logits, masks)
    free = head.code.components.log_probs(logits)
    allowed = head.code.components.padded(masks) & head.code.components.exists
    probs, all_probs = log_probs.exp(), free.exp() * allowed
    assert_close(probs, all_probs / all_probs.sum(dim=-1, keepdim=True))
    assert (probs[~allowed] == 0).all()
    (1e6 * (probs * log_probs.masked_fill(~allowed, 0)).sum()).backward()
    assert th.isfinite(logits.grad).all()


# ---------------------------------------------------------------- entropy


def test_the_largest_entropy_that_masks_leave() -> None:
    head = make_head(spaces.MultiDiscrete([2, 3]))
    masks = th.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 1, 0, 0, 1]], dtype=th.bool)
    assert_close(head.masked_max_entropies(masks).exp(), th.tensor([[2.0, 3.0], [1.0, 2.0], [1.0, 1.0]]))


def test_each_state_has_the_target_that_its_mask_leaves() -> None:
    model = masked("discrete", target_entropy="fraction:0.5").learn(40)
    batch = model.replay_buffer.sample(16)
    masks = th.zeros(16, 4, dtype=th.bool)
    masks[:, 0] = True  # no choice at first
    masks[4:8, 1] = True
    masks[8:] = True
    batch = batch._replace(action_masks=masks)
    model._refresh_update()
    targets, free = model._update._target_entropies(batch)
    assert_close(targets, 0.5 * th.tensor([1.0] * 4 + [2.0] * 4 + [4.0] * 8).log())
    assert free.tolist() == [False] * 4 + [True] * 12
    with th.no_grad():
        entropy = model.head.pi(model.actor, batch.observations, masks).entropy
    expected = (model.log_ent_coef.detach() * (entropy - targets))[4:].mean()
    assert_close(model._run_step(batch, True, True).metrics["ent_coef_loss"], expected)


def test_states_without_a_choice_alone_leave_the_coefficient() -> None:
    model = masked("discrete").learn(40)
    batch = model.replay_buffer.sample(16)
    masks = th.zeros(16, 4, dtype=th.bool)
    masks[:, 2] = True
    model._refresh_update()
    measured = model._run_step(batch._replace(action_masks=masks), True, True).metrics
    assert measured["ent_coef_loss"].item() == 0
    assert th.isfinite(model.log_ent_coef).all()


def test_the_behaviours_entropy_is_that_within_the_masks() -> None:
    model = masked("discrete", entropy_penalty=0.1, learning_starts=60).learn(50)  # the policy has not changed yet
    batch = model.replay_buffer.sample(40)
    with th.no_grad():
        expected = model.head.pi(model.actor, batch.observations, batch.action_masks).entropy
    assert_close(batch.behavior_entropies.flatten(), expected)


def test_the_logged_target_is_that_of_the_states() -> None:
    model = masked("discrete", target_entropy="fraction:0.5").learn(60)
    assert 0 < model.logger.name_to_value["train/target_entropy"] < 0.5 * np.log(4)


def test_the_target_that_is_not_reached_within_bounds_is_that_of_the_states() -> None:
    mask = np.array([True, True, False, False])
    env = ActionMasker(RandomEnv(actions="discrete"), lambda env: mask)
    model = SoftAC("MlpPolicy", env, target_entropy="fraction:0.5", ent_coef_bounds=(0.5, 0.5001), **FAST)
    with pytest.warns(UserWarning, match=rf"entropy target of {0.5 * np.log(2):.4g} nats is not reached"):
        model.learn(60)


class Board(RandomEnv):
    """19 by 19 points of which 20 are free, and a pass; refuses a point that is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Discrete(362)

    def action_masks(self) -> np.ndarray:
        mask = np.zeros(362, dtype=bool)
        mask[[*self.free, 361]] = True
        return mask

    def reset(self, **kwargs: Any) -> Any:
        result = super().reset(**kwargs)
        self.free = self.np_random.choice(361, 20, replace=False)
        return result

    def step(self, action: Any) -> Any:
        assert self.action_masks()[action], action
        result = super().step(action)
        self.free = self.free[self.free != action]
        return result


def test_a_board_with_few_free_points() -> None:
    """Of 362 actions 9 to 21 are legal: the entropy that can be asked for is that of these."""
    model = SoftAC("MlpPolicy", Board(), target_entropy="fraction:0.5", **FAST).learn(150)
    logged = model.logger.name_to_value
    assert 0.5 * np.log(9) <= logged["train/target_entropy"] <= 0.5 * np.log(21)
    assert 0 < logged["train/entropy"] <= np.log(21)


# ---------------------------------------------------------------- execution


@pytest.mark.filterwarnings("ignore:ent_coef is held")
@pytest.mark.parametrize("actions", ["discrete", "multidiscrete", pytest.param("multibinary", marks=pytest.mark.slow)])
def test_steps_with_masks_as_one_graph(traced: None, actions: str) -> None:
    eager, other = ready("eager", actions, env_class=MaskedEnv), ready("compile", actions, env_class=MaskedEnv)
    assert_close_models(train(eager), train(other))


@pytest.mark.slow
@pytest.mark.parametrize("actions", DISCRETE)
def test_compiled_steps_with_masks(actions: str) -> None:
    eager, other = ready("eager", actions, env_class=MaskedEnv), ready("compile", actions, env_class=MaskedEnv)
    assert_close_models(train(eager), train(other))
