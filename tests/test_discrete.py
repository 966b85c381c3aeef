"""Discrete actions: exact expectations, types, observations of every kind."""

import math
from functools import partial

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.envs import IdentityEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv
from torch.testing import assert_close

from sac_ext import SoftAC
from sac_ext.heads import make_head
from tests.catalogue import ACTIONS, DISCRETE, OBSERVATIONS, SMALL, RandomEnv, small_networks


def model_for(actions: str = "discrete", observations: str = "vector", **kwargs) -> SoftAC:
    options = {"seed": 0, "learning_starts": 20, "batch_size": 16, "buffer_size": 500}
    options["policy_kwargs"] = small_networks(observations)
    policy = OBSERVATIONS[observations][1]
    return SoftAC(policy, RandomEnv(observations, actions), **options | kwargs)


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("observations", OBSERVATIONS)
def test_every_observation_with_every_action_space(observations: str, actions: str) -> None:
    model = model_for(actions, observations)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(60)
    after = model.policy.state_dict()
    assert all(th.isfinite(value).all() for value in after.values())
    for network in ("actor", "critic", "critic_target"):
        assert any(not th.equal(before[name], after[name]) for name in before if name.startswith(f"{network}."))


@pytest.mark.parametrize("actions", ACTIONS)
def test_several_environments(actions: str) -> None:
    env = DummyVecEnv([partial(RandomEnv, "vector", actions)] * 3)
    model = SoftAC(
        "MlpPolicy", env, learning_starts=30, batch_size=16, gradient_steps=-1, train_freq=2, policy_kwargs=SMALL
    )
    model.learn(120)
    assert model._n_updates == 120 - 30  # six steps of the environments a time, from the 36th on


@pytest.mark.parametrize("actions", DISCRETE)
@pytest.mark.parametrize("deterministic", [True, False])
def test_predict_types_and_shapes(actions: str, deterministic: bool) -> None:
    model, space = model_for(actions), ACTIONS[actions]
    one, state = model.predict(model.observation_space.sample(), deterministic=deterministic)
    assert one.dtype == np.int64
    assert one.shape == space.shape
    assert state is None
    assert space.contains(one)
    batch, _ = model.predict(
        np.stack([model.observation_space.sample() for _ in range(50)]), deterministic=deterministic
    )
    assert batch.dtype == np.int64
    assert batch.shape == (50, *space.shape)
    assert all(space.contains(action) for action in batch)


@pytest.mark.parametrize("actions", DISCRETE)
def test_deterministic_is_the_most_probable_action(actions: str) -> None:
    model = model_for(actions)
    observations = np.random.default_rng(1).uniform(-1, 1, (40, 3)).astype(np.float32)
    with th.no_grad():
        log_probs = model.actor.log_probs(th.as_tensor(observations))
    predicted, _ = model.predict(observations, deterministic=True)
    index = model.head.code.encode(th.as_tensor(predicted).reshape(40, -1))
    assert th.equal(index, log_probs.argmax(dim=-1))


def test_stochastic_actions_follow_the_policy() -> None:
    model = model_for()
    with th.no_grad():
        model.actor.logits.weight.zero_()
        model.actor.logits.bias.copy_(th.tensor([0.5, 0.3, 0.15, 0.05]).log())
    actions, _ = model.predict(np.zeros((20_000, 3), dtype=np.float32), deterministic=False)
    shares = np.bincount(actions, minlength=4) / len(actions)
    np.testing.assert_allclose(shares, [0.5, 0.3, 0.15, 0.05], atol=0.015)


@pytest.mark.parametrize("actions", ["discrete", "discrete-start"])
def test_the_value_of_a_taken_action_is_looked_up_under_the_environments_count(actions: str) -> None:
    space = ACTIONS[actions]
    head = make_head(space)
    table = th.arange(2 * 5 * space.n, dtype=th.float32).reshape(2, 5, int(space.n))

    def critic(_: th.Tensor) -> tuple[th.Tensor, ...]:
        return tuple(table)

    taken = np.array([space.start, space.start + 1, space.start + space.n - 1, space.start, space.start + 1])
    values = head.q_taken(critic, th.zeros(5), th.as_tensor(taken).reshape(-1, 1))
    expected = table[:, range(5), taken - int(space.start)]
    assert_close(values, expected)


def test_the_expectation_has_no_sampling_noise() -> None:
    model = model_for()
    observations = th.rand(7, 3)
    draws = []
    for _ in range(2):
        pi = model.head.pi(model.actor, observations)
        draws.append(model.head.expected_q(pi, model.critic, observations, lambda q: q.mean(dim=0)).detach())
        assert pi.entropy.shape == (7,)
        assert pi.entropy.max() <= math.log(4) + 1e-6
    assert th.equal(*draws)


@pytest.mark.parametrize("normalize", [True, False])
def test_images_are_divided_by_255_unless_told_otherwise(normalize: bool) -> None:
    model = model_for(observations="image", policy_kwargs=small_networks("image") | {"normalize_images": normalize})
    image = th.full((1, *model.observation_space.shape), 200, dtype=th.uint8)
    scaled = image.float() / 255 if normalize else image.float()
    for network in (model.actor, model.critic):
        features = network.extract_features(image, network.features_extractor)
        assert_close(features, network.features_extractor(scaled))


def test_gsde_is_refused_with_sb3s_error() -> None:
    with pytest.raises(ValueError, match="can only be used with continuous actions"):
        model_for(use_sde=True)


def test_learns_the_identity_environment() -> None:
    env = make_vec_env(partial(IdentityEnv, ep_length=100), n_envs=1, env_kwargs={"space": spaces.Discrete(5)})
    model = SoftAC("MlpPolicy", env, seed=0, learning_rate=1e-2, gamma=0.0, batch_size=64, policy_kwargs=SMALL)
    model.learn(1500)
    mean, _ = evaluate_policy(model, env, n_eval_episodes=10)
    assert mean >= 90
