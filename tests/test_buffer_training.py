"""Training with a DeviceReplayBuffer: SB3's algorithms and SoftAC."""

from typing import Any

import numpy as np
import pytest
import torch as th
from sb3_contrib import TQC
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.her import HerReplayBuffer

from sac_ext import DeviceReplayBuffer, SoftAC, SoftReplayBufferSamples
from sac_ext.buffers.gather import Gather
from tests.catalogue import ACTIONS, DISCRETE, OBSERVATIONS, RandomEnv, small, small_networks
from tests.compare import assert_same_models, td_target
from tests.streams import stream

FAST: dict[str, Any] = {"seed": 0, "device": "cpu", "learning_starts": 20, "batch_size": 16, "buffer_size": 60}


# ---------------------------------------------------------------- algorithms


@pytest.mark.parametrize("options", [{}, {"n_steps": 3}, {"optimize_memory_usage": True}], ids=["plain", "n", "once"])
@pytest.mark.parametrize("algorithm", [DQN, TD3, SAC, TQC])
def test_sb3s_algorithms_train_to_the_same_numbers(algorithm: type[BaseAlgorithm], options: dict[str, Any]) -> None:
    """As with their own buffers, over the ring's seam."""
    actions = "discrete" if algorithm is DQN else "box"
    ours: dict[str, Any] = {"replay_buffer_class": DeviceReplayBuffer}
    theirs = dict(options)
    if options == {"n_steps": 3}:
        ours["replay_buffer_kwargs"] = {"n_steps": 3, "gamma": 0.99}
    elif options:
        ours |= options | {"replay_buffer_kwargs": {"handle_timeout_termination": False}}
        theirs["replay_buffer_kwargs"] = {"handle_timeout_termination": False}
    models = []
    for kwargs in (theirs, ours):
        env = DummyVecEnv([lambda: RandomEnv(actions=actions)] * 2)
        model = algorithm("MlpPolicy", env, policy_kwargs=small(), train_freq=1, **FAST, **kwargs)
        models.append(model.learn(120))
    assert isinstance(models[1].replay_buffer, DeviceReplayBuffer)
    assert models[1].replay_buffer.full
    assert_same_models(*models)


@pytest.mark.parametrize("observations", OBSERVATIONS)
@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("n_steps", [1, 3])
def test_softac_uses_it_everywhere(observations: str, actions: str, n_steps: int) -> None:
    policy = OBSERVATIONS[observations][1]
    env = RandomEnv(observations, actions)
    model = SoftAC(policy, env, n_steps=n_steps, policy_kwargs=small_networks(observations), **FAST).learn(40)
    assert type(model.replay_buffer) is DeviceReplayBuffer
    discounts = model.replay_buffer.sample(64).discounts
    assert (discounts is None) == (n_steps == 1)
    if discounts is not None:
        assert set(np.round(discounts.flatten().tolist(), 5)) <= {0.99, 0.9801, 0.9703}
        assert len(set(discounts.flatten().tolist())) > 1


def test_softac_with_sb3s_buffer() -> None:
    """The same numbers again, and what was asked for."""
    models = [
        SoftAC("MlpPolicy", RandomEnv(), policy_kwargs=small(), replay_buffer_class=cls, **FAST).learn(120)
        for cls in (None, ReplayBuffer, DeviceReplayBuffer)
    ]
    assert [type(model.replay_buffer) for model in models] == [DeviceReplayBuffer, ReplayBuffer, DeviceReplayBuffer]
    assert_same_models(models[0], models[1])
    assert_same_models(models[0], models[2])


def test_many_gradient_steps_equal_sacs() -> None:
    """More batches than are gathered at once, of a size that is no power of two."""
    options: dict[str, Any] = FAST | {"batch_size": 31, "train_freq": 50, "gradient_steps": 40, "buffer_size": 500}
    models = [
        cls("MlpPolicy", DummyVecEnv([RandomEnv] * 2), policy_kwargs=small(), **options).learn(200)
        for cls in (SAC, SoftAC)
    ]
    assert models[1]._n_updates >= 80
    assert_same_models(*models)


def test_batches_take_a_moderate_amount_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = stream().make(DeviceReplayBuffer)
    monkeypatch.setattr("sac_ext.buffers.gather.BYTES_AT_ONCE", 5 * 16 * buffer._layout.sample_nbytes)
    gathered, batch = [], Gather.batch
    monkeypatch.setattr(Gather, "batch", lambda *args: (gathered.append(len(args[1].rows)), batch(*args))[1])
    assert len(list(buffer.batches(12, 16))) == 12
    assert gathered == [5 * 64, 5 * 64, 2 * 64]


# ---------------------------------------------------------------- soft n-step returns


@pytest.mark.parametrize("actions", ACTIONS)
def test_soft_n_steps(actions: str) -> None:
    """What SoftAC stores are its policy's entropies, and the target has them, from the second step on."""
    gamma = 0.9
    model = SoftAC(
        "MlpPolicy",
        DummyVecEnv([lambda: RandomEnv(actions=actions)] * 2),
        n_steps=3,
        gamma=gamma,
        entropy_in_critic=1.0,
        replay_buffer_kwargs={"soft_n_steps": True},
        policy_kwargs=small(),
        **FAST | {"learning_starts": 50},
    ).learn(50)  # the policy has not changed yet
    buffer = model.replay_buffer
    obs, _ = model.policy.obs_to_tensor(buffer.observations[:20].reshape(40, 3))
    stored = buffer.storage.stored("entropies")[:20].reshape(40)
    if actions in DISCRETE:
        np.testing.assert_allclose(stored, model.head.pi(model.actor, obs).entropy.detach(), rtol=1e-5)
    else:  # one sample each
        assert np.std(stored) > 0
    np.random.seed(0)
    batch = buffer._get_samples(np.arange(20))
    np.random.seed(0)
    envs = np.random.randint(0, 2, 20)
    ended = np.logical_or(buffer.dones, buffer.timeouts)
    for row, env in enumerate(envs):
        expected, discount = 0.0, 1.0
        for step in range(row, min(row + 3, buffer.pos)):
            if step > row:
                expected += discount * buffer.storage.stored("entropies")[step, env]
            discount *= gamma
            if ended[step, env]:
                break
        assert batch.entropies[row].item() == pytest.approx(expected, abs=1e-5)
    assert isinstance(batch, SoftReplayBufferSamples)
    ent_coef = th.tensor(0.5)
    targets = []
    for samples in (batch, batch._replace(entropies=th.zeros_like(batch.entropies))):
        th.manual_seed(0)
        targets.append(td_target(model, samples, ent_coef))
    th.testing.assert_close(targets[0] - targets[1], ent_coef * batch.entropies.flatten(), rtol=1e-4, atol=1e-5)
    model.learn(40)


def test_soft_n_steps_need_softac() -> None:
    model = SAC(
        "MlpPolicy",
        RandomEnv(),
        replay_buffer_class=DeviceReplayBuffer,
        replay_buffer_kwargs={"n_steps": 3, "gamma": 0.99, "soft_n_steps": True},
        **FAST,
    )
    with pytest.raises(ValueError, match="use them with SoftAC"):
        model.learn(1)


def test_soft_returns_weigh_entropies_as_the_critic_does() -> None:
    """With ``entropy_in_critic=0`` there are none in the target."""
    model = SoftAC(
        "MlpPolicy",
        RandomEnv(),
        n_steps=3,
        replay_buffer_kwargs={"soft_n_steps": True},
        policy_kwargs=small(),
        **FAST,
    ).learn(40)
    model.entropy_in_critic = 0.0
    batch = model.replay_buffer.sample(16)
    targets = []
    for samples in (batch, batch._replace(entropies=batch.entropies + 100)):
        th.manual_seed(0)
        targets.append(td_target(model, samples, th.tensor(0.5)))
    assert th.equal(*targets)


def test_soft_returns_without_entropy_in_the_critic_are_refused() -> None:
    with pytest.raises(ValueError, match="weighted by entropy_in_critic, which is 0"):
        SoftAC("MlpPolicy", RandomEnv(actions="discrete"), n_steps=3, replay_buffer_kwargs={"soft_n_steps": True})


def test_a_reset_between_two_calls_of_learn_ends_the_returns() -> None:
    """SB3's n-step buffer sums over it."""

    class Counting(RandomEnv):
        episodes = 0

        def reset(self, **kwargs: Any) -> Any:
            type(self).episodes += 1
            return super().reset(**kwargs)

        def step(self, action: Any) -> Any:
            observation, *_ = super().step(action)
            return observation, float(self.episodes), False, False, {}

    model = SoftAC("MlpPolicy", Counting(), n_steps=3, gamma=1.0, policy_kwargs=small(), **FAST)
    model.learn(10).learn(10)
    returns = model.replay_buffer._get_samples(np.arange(20)).rewards.flatten().tolist()
    assert returns == [3] * 8 + [2, 1] + [6] * 8 + [4, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"replay_buffer_class": ReplayBuffer, "replay_buffer_kwargs": {"prioritized": True}},
            "has prioritized, which ReplayBuffer does not accept: pass replay_buffer_class=None",
        ),
        (
            {"replay_buffer_class": ReplayBuffer, "replay_buffer_kwargs": {"frame_stack_axis": "first"}},
            "has frame_stack_axis, which ReplayBuffer does not accept",
        ),
        ({"n_steps": 3, "replay_buffer_kwargs": {"n_steps": 5}}, "n_steps=3, but replay_buffer_kwargs has n_steps=5"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoftAC("MlpPolicy", RandomEnv(), **FAST, **options)


@pytest.mark.parametrize("buffer_class", [None, ReplayBuffer, HerReplayBuffer], ids=["ours", "SB3's", "HER"])
def test_misspelt_options_are_refused_with_the_nearest_one(buffer_class: Any) -> None:
    options = {"replay_buffer_class": buffer_class, "replay_buffer_kwargs": {"handle_timeout_terminations": False}}
    with pytest.raises(TypeError, match=r"in replay_buffer_kwargs .*: did you mean 'handle_timeout_termination'\?$"):
        SoftAC("MlpPolicy", RandomEnv(), **FAST, **options)


def test_n_steps_may_be_given_to_the_buffer() -> None:
    model = SoftAC("MlpPolicy", RandomEnv(), gamma=0.9, replay_buffer_kwargs={"n_steps": 3}, **FAST)
    assert (model.replay_buffer.n_steps, model.replay_buffer.gamma) == (3, 0.9)
