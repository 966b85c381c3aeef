"""The switches against the failures of discrete SAC, one by one: what each does to a loss and to training."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.logger import configure
from torch.testing import assert_close

from sac_ext import SoftAC, losses
from tests.catalogue import ACTIONS, DISCRETE, SMALL, MaskedEnv, RandomEnv
from tests.compare import assert_same_models


def make(actions: str = "discrete", **kwargs: Any) -> SoftAC:
    options: dict[str, Any] = {"seed": 0, "learning_starts": 40, "buffer_size": 500, "policy_kwargs": SMALL}
    return SoftAC("MlpPolicy", RandomEnv(actions=actions), **options | kwargs)


def ready(actions: str = "discrete", **kwargs: Any) -> SoftAC:
    """A model with 40 random transitions, before its first update."""
    model = make(actions, **kwargs).learn(40)
    model.set_logger(configure(None, []))
    return model


# ---------------------------------------------------------------- Q-clip


def test_the_clipped_value_stays_near_the_target_critic() -> None:
    q = th.tensor([[1.0, 5.0, -5.0]], requires_grad=True)
    clipped = losses.clip_to_target_critic(q, th.tensor([[0.8, 2.0, -2.0]]), q_clip=0.5)
    assert_close(clipped, th.tensor([[1.0, 2.5, -2.5]]))
    clipped.sum().backward()
    assert_close(q.grad, th.tensor([[1.0, 0.0, 0.0]]))


def test_the_larger_error_counts_for_each_transition() -> None:
    """Not the larger mean, as in the authors' code: errors 1 and 3, clipped 2 and 1, give 2 and 3."""
    q, clipped = th.tensor([[1.0, 3.0]]), th.tensor([[2.0, 1.0]])
    assert losses.critic_loss(q, th.zeros(2), q_clipped=clipped).item() == pytest.approx(0.5 * (4 + 9) / 2)
    weighted = losses.critic_loss(q, th.zeros(2), th.tensor([1.0, 0.5]), clipped)
    assert weighted.item() == pytest.approx(0.5 * (4 + 0.5 * 9) / 2)


@pytest.mark.parametrize("actions", ACTIONS)
def test_q_clip_in_training(actions: str) -> None:
    """Without effect while it is far away; otherwise the loss is that of the clipped values."""
    plain, far, near = (ready(actions, q_clip=q_clip) for q_clip in (None, 1e9, 1e-3))
    np.random.seed(0)
    batch = plain.replay_buffer.sample(32)
    values = []
    for model in (plain, far, near):
        with th.no_grad():
            for parameter in model.critic.parameters():
                parameter.mul_(1.5)  # away from the targets, as after some steps
        model._refresh_update()
        th.manual_seed(0)
        target = model._update.td_target(batch, th.tensor(0.1))
        loss, _ = model._update._critic_loss(batch, target)
        values.append(loss.item())
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    with th.no_grad():
        q = near.head.q_taken(near.critic, batch.observations, batch.actions)
        q_target = near.head.q_taken(near.critic_target, batch.observations, batch.actions)
        th.manual_seed(0)
        target = near._update.td_target(batch, th.tensor(0.1))
        clipped = q_target + (q - q_target).clamp(-1e-3, 1e-3)
        expected = 0.5 * th.maximum((q - target) ** 2, (clipped - target) ** 2).mean(dim=1).sum()
    assert values[2] == pytest.approx(expected.item(), rel=1e-5)
    assert values[2] > values[0]


# ---------------------------------------------------------------- entropy penalty


def test_the_penalty_is_half_the_mean_squared_difference() -> None:
    penalty = losses.entropy_penalty(th.tensor([1.0, 0.5]), th.tensor([0.5, 0.5]))
    assert penalty.item() == pytest.approx(0.5 * 0.25 / 2)
    with pytest.raises(ValueError, match=r"one shape \(B,\)"):
        losses.entropy_penalty(th.zeros(2), th.zeros(2, 1))


@pytest.mark.parametrize("actions", DISCRETE)
@pytest.mark.parametrize("n_steps", [1, 3])
def test_the_replay_buffer_keeps_the_entropies_of_the_policy_that_acted(actions: str, n_steps: int) -> None:
    model = ready(actions, entropy_penalty=0.5, n_steps=n_steps, gamma=0.9)  # the policy has not changed yet
    batch = model.replay_buffer.sample(30)
    with th.no_grad():
        expected = model.head.pi(model.actor, batch.observations).entropy
    assert_close(batch.behavior_entropies.flatten(), expected)


def test_the_penalty_is_part_of_the_actors_loss() -> None:
    model = ready(entropy_penalty=2.0, ent_coef=0.3)
    batch = model.replay_buffer.sample(16)
    batch = batch._replace(behavior_entropies=batch.behavior_entropies - 0.5)
    plain = copy.deepcopy(model)
    plain.entropy_penalty = None
    measured = []
    for each in (model, plain):
        each._refresh_update()
        measured.append(each._run_step(batch, update_actor=True, update_target=False).metrics["actor_loss"])
    assert (measured[0] - measured[1]).item() == pytest.approx(2.0 * 0.5 * 0.25, rel=1e-4)


def test_a_strong_penalty_holds_the_entropy() -> None:
    """Rewards pull the policy to one action; the penalty keeps it as random as when it acted."""
    entropies = {}
    for penalty in (None, 100.0):
        model = ready(entropy_penalty=penalty, ent_coef=0.0, learning_rate=3e-3, gamma=0.0)
        model.train(200, batch_size=32)
        obs = model.replay_buffer.sample(64).observations
        with th.no_grad():
            entropies[penalty] = model.head.pi(model.actor, obs).entropy.mean().item()
    assert entropies[None] < 0.7
    assert entropies[100.0] > 1.3


def test_loaded_transitions_must_have_their_entropies(tmp_path: Any) -> None:
    model = ready()
    model.save_replay_buffer(tmp_path / "buffer")
    with_penalty = ready(entropy_penalty=0.5)
    with_penalty.load_replay_buffer(tmp_path / "buffer")
    with pytest.raises(ValueError, match="does not keep the entropies that entropy_penalty needs"):
        with_penalty.learn(10)
    with_penalty = ready(entropy_penalty=0.5)
    with_penalty.save_replay_buffer(tmp_path / "with")
    again = ready(entropy_penalty=0.5)
    again.load_replay_buffer(tmp_path / "with")
    again.learn(60, reset_num_timesteps=False)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("name", ["q_clip", "entropy_penalty"])
@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1.0, ValueError), (float("nan"), ValueError), ([], TypeError)]
)
def test_refused_values(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        make(**{name: value})


def test_the_penalty_needs_an_entropy_that_is_known() -> None:
    with pytest.raises(
        ValueError, match="needs the policy's exact entropy, which is not known for the action space Box"
    ):
        make("box", entropy_penalty=0.5)


def test_the_penalty_needs_our_replay_buffer() -> None:
    with pytest.raises(ValueError, match="a ReplayBuffer with 0 transitions, does not keep the entropies"):
        make(entropy_penalty=0.5, replay_buffer_class=ReplayBuffer)


def test_the_penalty_set_on_a_trained_model() -> None:
    model = ready()
    model.entropy_penalty = 0.5
    with pytest.raises(ValueError, match="DeviceReplayBuffer with 40 transitions, does not keep the entropies"):
        model.train(1, batch_size=16)


@pytest.mark.parametrize("name", ["q_clip", "entropy_penalty"])
def test_a_graph_is_made_anew_where_they_change(name: str) -> None:
    model = ready(**{name: 0.5})
    before = model._update.constants()
    setattr(model, name, 0.25)
    model._refresh_update()
    assert model._update.constants() != before


@pytest.mark.parametrize("options", [{"q_clip": 0.5}, {"entropy_penalty": 0.5}])
def test_saved_and_changed_on_load(options: dict[str, Any], tmp_path: Any) -> None:
    model = ready(**options)
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=RandomEnv(actions="discrete"))
    assert_same_models(model, loaded)
    (name,) = options
    assert getattr(loaded, name) == 0.5
    changed = SoftAC.load(tmp_path / "model", env=RandomEnv(actions="discrete"), **{name: None})
    assert getattr(changed, name) is None
    changed.learn(60)


# ---------------------------------------------------------------- random actions


class Fixed(SoftAC):
    """Its policy takes the first value of each component."""

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
        batch = len(next(iter(observation.values())) if isinstance(observation, dict) else observation)
        first = np.array(getattr(self.action_space, "start", 0))
        return np.broadcast_to(first, (batch, *self.action_space.shape)).astype(np.int64).copy(), None


def chosen(actions: str, n: int = 600, **kwargs: Any) -> np.ndarray:
    env = RandomEnv(actions=actions)
    options: dict[str, Any] = {"seed": 0, "learning_starts": 0, "train_freq": n, "gradient_steps": 1, "batch_size": 8}
    model = Fixed("MlpPolicy", env, policy_kwargs=SMALL, buffer_size=n, **options | kwargs).learn(n)
    return model.replay_buffer.actions[:, 0] - np.array(getattr(env.action_space, "start", 0))


@pytest.mark.parametrize("actions", DISCRETE)
def test_this_share_of_actions_is_drawn_uniformly(actions: str) -> None:
    space = ACTIONS[actions]
    for share in (0.0, 0.4):
        drawn = chosen(actions, exploration_eps=share)
        other = (drawn != 0).any(axis=1).mean()
        joint = {
            "Discrete": lambda: space.n,
            "MultiDiscrete": lambda: space.nvec.prod(),
            "MultiBinary": lambda: 2**space.n,
        }
        expected = share * (1 - 1 / joint[type(space).__name__]())
        assert other == pytest.approx(expected, abs=0.07 if share else 0)


def test_the_share_may_fall() -> None:
    drawn = chosen("discrete", exploration_eps="lin_1.0")
    first, second = (half.mean() for half in np.split((drawn != 0).any(axis=1), 2))
    assert first > 2 * second > 0


def test_random_actions_are_allowed_ones() -> None:
    model = SoftAC(
        "MlpPolicy", MaskedEnv(actions="discrete"), seed=0, learning_starts=10, exploration_eps=0.9, policy_kwargs=SMALL
    )
    model.learn(100)  # the environment refuses others
    assert model.logger.name_to_value["rollout/exploration_rate"] == 0.9


def test_random_actions_are_none_of_the_policys_own(tmp_path: Path) -> None:
    """Evaluation and played models have none, also where actions are drawn."""
    model = make(exploration_eps=1.0).learn(60)
    with th.no_grad():
        model.actor.logits.weight.zero_()
        model.actor.logits.bias.copy_(th.tensor([0.0, 50.0, 0.0, 0.0]))  # the second action, practically always
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=model.get_env())
    obs = np.zeros((50, *model.observation_space.shape), dtype=np.float32)
    second = model.action_space.start + 1
    for each in (model, loaded):
        for deterministic in (True, False):
            assert (each.predict(obs, deterministic=deterministic)[0] == second).all()


@pytest.mark.parametrize(
    ("actions", "value", "error", "match"),
    [
        ("discrete", 1.5, ValueError, "between 0 and 1"),
        ("discrete", -0.1, ValueError, ">= 0"),
        ("discrete", "half", ValueError, "must be a number"),
        ("discrete", None, TypeError, "must be a number"),
        ("box", 0.1, ValueError, "or use action_noise"),
    ],
)
def test_bad_shares(actions: str, value: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        make(actions, exploration_eps=value)


def test_a_share_that_leaves_its_range_later() -> None:
    model = make(exploration_eps=lambda progress: 1.5 - progress)
    with pytest.raises(ValueError, match=r"exploration_eps must be between 0 and 1"):
        model.learn(200)
