"""On Box, on the CPU, with new options at their defaults, SoftAC's numbers are SAC's bit for bit."""

import copy
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.envs import BitFlippingEnv, IdentityEnvBox
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize
from torch import nn

from sac_ext import SoftAC
from sac_ext.losses import REDUCTIONS
from tests.catalogue import SMALL, SMALL_CNN, SMALL_DICT, RandomEnv
from tests.compare import LogRecorder, assert_equal, assert_same_logs, assert_same_models


def vec(n_envs: int = 1, **kwargs: Any) -> DummyVecEnv:
    return DummyVecEnv([partial(RandomEnv, **kwargs) for _ in range(n_envs)])


class BatchNormExtractor(nn.Sequential):
    """Running statistics in actor, critics and targets."""

    def __init__(self, observation_space: gym.Space) -> None:
        super().__init__(nn.Flatten(), nn.BatchNorm1d(3))
        self.features_dim = 3


MLP: dict[str, Any] = {"policy": "MlpPolicy", "policy_kwargs": SMALL}
CASES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "mlp": (lambda: "Pendulum-v1", {"policy": "MlpPolicy"}),
    "cnn": (partial(RandomEnv, "image"), {"policy": "CnnPolicy", "policy_kwargs": SMALL_CNN}),
    "frame-stack": (
        lambda: VecFrameStack(vec(observations="image"), 2),
        {"policy": "CnnPolicy", "policy_kwargs": SMALL_CNN},
    ),
    "dict": (partial(RandomEnv, "dict"), {"policy": "MultiInputPolicy", "policy_kwargs": SMALL_DICT}),
    "box-2d": (partial(RandomEnv, actions="box-2d"), MLP),
    "gsde": (RandomEnv, MLP | {"use_sde": True, "use_sde_at_warmup": True, "sde_sample_freq": 4}),
    "n-steps": (RandomEnv, MLP | {"n_steps": 3}),
    "n-envs": (partial(vec, 4), MLP | {"gradient_steps": -1}),
    "vec-normalize": (lambda: VecNormalize(vec(2), gamma=0.9), MLP | {"gamma": 0.9}),
    "episodes": (RandomEnv, MLP | {"train_freq": (1, "episode"), "gradient_steps": -1}),
    "fixed-ent-coef": (RandomEnv, MLP | {"ent_coef": 0.2}),
    "initial-ent-coef": (RandomEnv, MLP | {"ent_coef": "auto_0.1", "target_entropy": -0.37}),
    "optimize-memory": (
        RandomEnv,
        MLP | {"optimize_memory_usage": True, "replay_buffer_kwargs": {"handle_timeout_termination": False}},
    ),
    "action-noise": (RandomEnv, MLP | {"action_noise": NormalActionNoise(np.zeros(2), 0.2 * np.ones(2))}),
    "ou-noise-n-envs": (
        partial(vec, 2),
        MLP | {"action_noise": OrnsteinUhlenbeckActionNoise(np.zeros(2), 0.2 * np.ones(2))},
    ),
    "her": (
        lambda: BitFlippingEnv(n_bits=4, continuous=True, max_steps=4),
        {"policy": "MultiInputPolicy", "policy_kwargs": SMALL, "replay_buffer_class": HerReplayBuffer},
    ),
    "schedule": (RandomEnv, MLP | {"learning_rate": LinearSchedule(1e-3, 1e-4, 0.8)}),
    "target-update-interval": (RandomEnv, MLP | {"target_update_interval": 3, "gradient_steps": 5, "train_freq": 5}),
    "shared-extractor": (
        partial(RandomEnv, "image"),
        {"policy": "CnnPolicy", "policy_kwargs": SMALL_CNN | {"share_features_extractor": True}},
    ),
    "many-critics": (RandomEnv, MLP | {"policy_kwargs": {"net_arch": [16], "n_critics": 5}}),
    "one-critic": (RandomEnv, MLP | {"policy_kwargs": {"net_arch": [16], "n_critics": 1}}),
    "batch-norm": (
        RandomEnv,
        MLP | {"policy_kwargs": {"net_arch": [16], "features_extractor_class": BatchNormExtractor}},
    ),
    "optimizer": (
        RandomEnv,
        MLP
        | {
            "policy_kwargs": {
                "net_arch": {"pi": [8], "qf": [16]},
                "optimizer_class": th.optim.AdamW,
                "optimizer_kwargs": {"weight_decay": 0.1},
            }
        },
    ),
}


def learn(algorithm: type, make_env: Callable[[], Any], kwargs: dict[str, Any]) -> tuple[Any, LogRecorder]:
    model = algorithm(env=make_env(), seed=1, device="cpu", learning_starts=40, batch_size=32, **kwargs)
    recorder = LogRecorder()
    model.learn(180, callback=recorder, log_interval=1000)
    return model, recorder


@pytest.mark.parametrize("case", CASES)
def test_training_equals_sac_bit_for_bit(case: str) -> None:
    make_env, kwargs = CASES[case]
    expected, expected_log = learn(SAC, make_env, kwargs)
    actual, actual_log = learn(SoftAC, make_env, kwargs)
    assert expected._n_updates >= 20
    assert_same_models(expected, actual)
    assert_same_logs(expected_log, actual_log)


@pytest.mark.slow
def test_a_long_run_equals_sac_bit_for_bit() -> None:
    """Long enough for rare events, such as two critics that agree to the last bit."""
    expected, actual = (
        cls("MlpPolicy", "Pendulum-v1", seed=0, device="cpu", policy_kwargs={"net_arch": [32, 32]}).learn(10_000)
        for cls in (SAC, SoftAC)
    )
    assert_same_models(expected, actual)


def test_signature_extends_sac() -> None:
    sac = inspect.signature(SAC.__init__).parameters
    ours = inspect.signature(SoftAC.__init__).parameters
    assert list(ours)[: len(sac)] == list(sac)
    for name, parameter in sac.items():
        assert ours[name].default == parameter.default, name
        assert ours[name].kind == parameter.kind, name
    assert all(ours[name].kind == inspect.Parameter.KEYWORD_ONLY for name in list(ours)[len(sac) :])


def test_equal_critics_break_ties_as_sac_does() -> None:
    """SB3 takes the minimum over a concatenation; where critics agree, the gradient must go to the same one."""
    values = [th.tensor([[1.0], [2.0], [3.0]], requires_grad=True) for _ in range(2)]
    sac_gradient = th.autograd.grad(th.cat(values, dim=1).min(dim=1, keepdim=True).values.sum(), values)
    our_gradient = th.autograd.grad(REDUCTIONS["min"](th.stack(values)).sum(), values)
    assert all(th.equal(left, right) for left, right in zip(sac_gradient, our_gradient, strict=True))


def test_the_identity_environment_is_learned() -> None:
    env = DummyVecEnv([lambda: IdentityEnvBox(eps=0.5)])
    model = SoftAC("MlpPolicy", env, seed=1, gamma=0.0, learning_rate=1e-2, policy_kwargs=SMALL)
    model.learn(1000)
    assert evaluate_policy(model, env, 10, warn=False)[0] > 90


def test_a_trained_policy_with_gsde_can_be_copied() -> None:
    model = SoftAC("MlpPolicy", RandomEnv(), use_sde=True, seed=0, learning_starts=10, policy_kwargs=SMALL).learn(20)
    copied = copy.deepcopy(model.policy)
    assert_equal(dict(copied.named_parameters()), dict(model.policy.named_parameters()))
