"""What SB3's users do with SAC works with SoftAC: the behaviours SB3's own tests hold SAC to, on every action space."""

from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.callbacks import (
    CallbackList,
    CheckpointCallback,
    EvalCallback,
    EveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack, VecNormalize
from torch import nn

from sac_ext import MlpPolicy, SoftAC
from tests.catalogue import ACTIONS, OBSERVATIONS, SMALL, RandomEnv, small_networks
from tests.compare import assert_same_models

pytestmark = pytest.mark.parametrize("actions", ACTIONS)
FAST: dict[str, Any] = {"seed": 0, "learning_starts": 20, "batch_size": 16, "buffer_size": 500, "policy_kwargs": SMALL}


def vec(actions: str, n_envs: int = 1, **kwargs: Any) -> DummyVecEnv:
    return DummyVecEnv([partial(RandomEnv, actions=actions, **kwargs)] * n_envs)


@pytest.mark.filterwarnings(
    "ignore:We recommend you to use a symmetric", "ignore:.*Discrete action space  with a non-zero"
)
def test_the_catalogue_is_made_of_valid_environments(actions: str) -> None:
    check_env(RandomEnv(actions=actions), skip_render_check=True)


def test_a_seed_makes_training_repeatable(actions: str) -> None:
    first, second = (SoftAC("MlpPolicy", RandomEnv(actions=actions), **FAST).learn(80) for _ in range(2))
    assert_same_models(first, second)
    other = SoftAC("MlpPolicy", RandomEnv(actions=actions), **FAST | {"seed": 1}).learn(80)
    with pytest.raises(AssertionError):
        assert_same_models(first, other)


@pytest.mark.parametrize(("train_freq", "updates"), [(4, 15), ((4, "step"), 15), ((20, "step"), 3)])
def test_train_freq(actions: str, train_freq: Any, updates: int) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), train_freq=train_freq, **FAST).learn(80)
    assert model._n_updates == updates  # one after each rollout that ends beyond step 20


def test_episodic_training(actions: str) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), train_freq=(1, "episode"), gradient_steps=-1, **FAST)
    model.learn(80)
    assert 0 <= model.num_timesteps - model._n_updates <= 20  # all but the steps of the episodes that warmed up


def test_n_steps(actions: str) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), n_steps=3, gamma=0.9, **FAST).learn(60)
    discounts = model.replay_buffer.sample(500).discounts  # shorter returns where episodes end
    assert set(discounts.flatten().tolist()) == set(np.float32(0.9) ** np.arange(1, 4, dtype=np.float32))


def test_optimize_memory_usage(actions: str) -> None:
    model = SoftAC(
        "MlpPolicy",
        RandomEnv(actions=actions),
        optimize_memory_usage=True,
        replay_buffer_kwargs={"handle_timeout_termination": False},
        **FAST,
    ).learn(60)
    assert model.replay_buffer.optimize_memory_usage
    assert model._n_updates == 40


def test_vec_normalize(actions: str, tmp_path: Path) -> None:
    env = VecNormalize(vec(actions, 2))
    model = SoftAC("MlpPolicy", env, **FAST).learn(60)
    model.save(tmp_path / "model")
    env.save(str(tmp_path / "normalize.pkl"))
    loaded_env = VecNormalize.load(str(tmp_path / "normalize.pkl"), vec(actions, 2))
    SoftAC.load(tmp_path / "model", env=loaded_env).learn(40, reset_num_timesteps=False)


def test_vec_frame_stack(actions: str) -> None:
    env = VecFrameStack(vec(actions, observations="image"), 3)
    SoftAC("CnnPolicy", env, **FAST | {"policy_kwargs": small_networks("image")}).learn(40)


def test_subprocesses(actions: str) -> None:
    env = SubprocVecEnv([partial(RandomEnv, actions=actions)] * 2, start_method="forkserver")
    SoftAC("MlpPolicy", env, **FAST).learn(40)
    env.close()


def test_callbacks(actions: str, tmp_path: Path) -> None:
    evaluation = Monitor(RandomEnv(actions=actions))
    stop = StopTrainingOnRewardThreshold(reward_threshold=1e6, verbose=0)
    callback = CallbackList(
        [
            EvalCallback(
                evaluation,
                callback_on_new_best=stop,
                callback_after_eval=StopTrainingOnNoModelImprovement(50),
                best_model_save_path=str(tmp_path / "best"),
                log_path=str(tmp_path),
                eval_freq=30,
                verbose=0,
            ),
            CheckpointCallback(30, str(tmp_path / "checkpoints"), save_replay_buffer=True),
            EveryNTimesteps(20, StopTrainingOnMaxEpisodes(1000)),
        ]
    )
    SoftAC("MlpPolicy", RandomEnv(actions=actions), **FAST).learn(70, callback=callback)
    best = SoftAC.load(tmp_path / "best" / "best_model")
    assert best.predict(evaluation.observation_space.sample())[0].shape == evaluation.action_space.shape
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert {"rl_model_30_steps.zip", "rl_model_60_steps.zip", "rl_model_replay_buffer_60_steps.pkl"} <= names


def test_a_callback_can_stop_training(actions: str) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), **FAST)
    model.learn(100, callback=lambda locals_, globals_: model.num_timesteps < 33)
    assert model.num_timesteps == 33


def test_evaluate_policy(actions: str) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), **FAST)
    returns, lengths = evaluate_policy(model, Monitor(RandomEnv(actions=actions)), 4, return_episode_rewards=True)
    assert len(returns) == len(lengths) == 4


def test_logs(actions: str, tmp_path: Path) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), **FAST)
    model.set_logger(configure(str(tmp_path), ["csv", "json"]))
    model.learn(80, log_interval=1)
    model.logger.close()
    columns = (tmp_path / "progress.csv").read_text().splitlines()[0].split(",")
    expected = {"actor_loss", "critic_loss", "ent_coef", "ent_coef_loss", "learning_rate", "n_updates"}
    assert {f"train/{name}" for name in expected | {"entropy", "target_entropy"}} <= set(columns)
    assert {"rollout/ep_rew_mean", "time/fps"} <= set(columns)


def test_tensorboard(actions: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), tensorboard_log=str(tmp_path), **FAST)
    model.learn(60, log_interval=1)
    model.logger.close()
    assert list((tmp_path / "SoftAC_1").glob("events.*"))


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_progress_bar(actions: str) -> None:
    SoftAC("MlpPolicy", RandomEnv(actions=actions), **FAST).learn(30, progress_bar=True)


class DropoutExtractor(BaseFeaturesExtractor):
    """Dropout and batch norm behave differently in training."""

    def __init__(self, observation_space: gym.Space) -> None:
        super().__init__(observation_space, 3)
        self.layers = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3), nn.Dropout(0.5))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.layers(observations)


def test_train_and_eval_mode(actions: str) -> None:
    policy_kwargs = {"net_arch": [16], "features_extractor_class": DropoutExtractor}
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), **FAST | {"policy_kwargs": policy_kwargs})
    running_mean = model.actor.features_extractor.layers[1].running_mean
    before = running_mean.clone()
    observation = np.ones((4, 3), dtype=np.float32)
    first, second = (model.predict(observation, deterministic=True)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not model.actor.training
    assert th.equal(before, running_mean)
    model.learn(40)
    model.train(gradient_steps=1, batch_size=16)
    assert model.actor.training
    assert not model.critic_target.training
    assert not th.equal(before, running_mean)
    for name, value in model.critic.state_dict().items():
        if "running_" in name:
            assert th.equal(value, model.critic_target.state_dict()[name])


class OwnPolicy(MlpPolicy):
    """A policy of the user's, by inheritance."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"net_arch": {"pi": [8], "qf": [12, 12]}, "activation_fn": nn.Tanh})


def test_custom_policies(actions: str) -> None:
    model = SoftAC(OwnPolicy, RandomEnv(actions=actions), **FAST | {"policy_kwargs": None}).learn(40)
    assert [layer.out_features for layer in model.actor.latent_pi if isinstance(layer, nn.Linear)] == [8]
    assert any(isinstance(layer, nn.Tanh) for layer in model.actor.latent_pi)
    kwargs = {
        "net_arch": [],
        "n_critics": 3,
        "optimizer_class": th.optim.SGD,
        "optimizer_kwargs": {"momentum": 0.5},
        "normalize_images": False,
    }
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), **FAST | {"policy_kwargs": kwargs}).learn(40)
    assert len(model.critic.q_networks) == 3
    assert isinstance(model.actor.optimizer, th.optim.SGD)


@pytest.mark.parametrize("observations", ["image", "dict"])
def test_shared_features_extractor(actions: str, observations: str) -> None:
    model = SoftAC(
        OBSERVATIONS[observations][1],
        RandomEnv(observations, actions),
        **FAST | {"policy_kwargs": small_networks(observations) | {"share_features_extractor": True}},
    )
    assert model.critic.features_extractor is model.actor.features_extractor
    trained = {id(p) for group in model.critic.optimizer.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in model.actor.features_extractor.parameters()}
    before = [p.clone() for p in model.actor.features_extractor.parameters()]
    model.learn(40)
    after = model.actor.features_extractor.parameters()
    assert all(not th.equal(old, new) for old, new in zip(before, after, strict=True))


def test_predict_with_another_environment_and_batches(actions: str) -> None:
    model = SoftAC("MlpPolicy", vec(actions, 2), **FAST).learn(40)
    batch = np.stack([model.observation_space.sample() for _ in range(5)])
    assert model.predict(batch)[0].shape == (5, *model.action_space.shape)
    with pytest.raises(ValueError, match="Unexpected observation shape"):
        model.predict(np.zeros((5, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="mixing Gym API"):
        model.predict(RandomEnv(actions=actions).reset())


def test_learning_goes_on_where_it_was(actions: str) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), **FAST).learn(40)
    model.learn(40, reset_num_timesteps=False)
    assert model.num_timesteps == 80
    model.learn(30)
    assert model.num_timesteps == 30


def test_hindsight_experience_replay(actions: str) -> None:
    env = BitFlippingEnv(n_bits=4, continuous=actions.startswith("box"), max_steps=4)
    model = SoftAC(
        "MultiInputPolicy", env, replay_buffer_class=HerReplayBuffer, replay_buffer_kwargs={"n_sampled_goal": 2}, **FAST
    )
    model.learn(80)
