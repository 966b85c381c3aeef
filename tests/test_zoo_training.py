"""What ``train`` of rl-baselines3-zoo does with SoftAC, and what ours adds to it."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch as th
from gymnasium.envs.classic_control.pendulum import PendulumEnv

pytest.importorskip("rl_zoo3")
import yaml
from rl_zoo3 import utils
from rl_zoo3.exp_manager import ExperimentManager

from sac_ext import DeviceReplayBuffer, SoftAC, zoo
from sac_ext.zoo import train
from tests.zoo_help import ENV, FAST

pytestmark = pytest.mark.filterwarnings("ignore")  # of the zoo's own code


def test_training_goes_on_from_a_file(here: Path) -> None:
    """With its networks, replay buffer and statistics."""
    params = ["-params", "normalize:True", *FAST]
    first, second = (here / folder / "softac" / f"{ENV}_1" for folder in ("first", "second"))
    zoo.main(["train", "--env", ENV, "-n", "100", "--save-replay-buffer", "-f", "first", *params])
    goes_on = ["-i", str(first / f"{ENV}.zip"), "-f", "second", *params, "learning_starts:1000"]  # without learning
    zoo.main(["train", "--env", ENV, "-n", "60", "--save-replay-buffer", *goes_on])
    models = [SoftAC.load(folder / f"{ENV}.zip", buffer_size=1000) for folder in (first, second)]
    before, after = (model.policy.state_dict() for model in models)
    assert all(th.equal(value, after[name]) for name, value in before.items())
    sizes = []
    for model, folder in zip(models, (first, second), strict=True):
        model.load_replay_buffer(folder / "replay_buffer.pkl")
        sizes.append(model.replay_buffer.size())
    assert sizes == [100, 160]
    counts = []
    for folder in (first, second):
        with (folder / ENV / "vecnormalize.pkl").open("rb") as file:
            counts.append(pickle.load(file).obs_rms.count)
    assert counts[1] - counts[0] == pytest.approx(61)  # one observation of a reset
    with pytest.raises(SystemExit, match=r"trained on normalised observations .*: add -params normalize:True$"):
        zoo.main(["train", "--env", ENV, "-n", "60", *goes_on[:4], "-params", *FAST])


PYTHON_CONFIG = """
import gymnasium as gym

hyperparams = {
    "CartPole-v1": dict(
        n_timesteps=120,
        policy="MlpPolicy",
        frame_stack=2,
        env_wrapper=[{"gymnasium.wrappers.ClipReward": dict(min_reward=-1, max_reward=0.5)}],
        learning_starts=50,
        batch_size=16,
        buffer_size=1000,
        policy_kwargs=dict(net_arch=[8]),
    )
}
"""


def test_a_configuration_in_python_with_wrappers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That also write curves for TensorBoard."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_config.py").write_text(PYTHON_CONFIG)
    zoo.main(["train", "--env", ENV, "--conf-file", "my_config.py", "--tensorboard-log", "curves"])
    score = float(re.search(r"Score of the final policy: (\d+\.\d+)", capsys.readouterr().out)[1])  # type: ignore[index]
    model = SoftAC.load(tmp_path / "logs" / "softac" / f"{ENV}_1" / f"{ENV}.zip")
    assert model.observation_space.shape == (8,)
    assert list((tmp_path / "curves").glob("**/events.out.tfevents.*"))
    zoo.main(["enjoy", "--env", ENV, "--no-render", "-n", "200"])
    played = float(re.search(r"Mean reward: (\d+\.\d+)", capsys.readouterr().out)[1])  # type: ignore[index]
    for mean in (score, played):
        assert mean >= 4  # steps, of which the wrapper leaves half, as they are counted


def test_arguments_of_the_environment_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    gravities = []
    make = PendulumEnv.__init__
    monkeypatch.setattr(
        PendulumEnv, "__init__", lambda self, *a, g=10.0, **k: gravities.append(g) or make(self, *a, g=g, **k)
    )
    zoo.main(["train", "--env", "Pendulum-v1", "-n", "60", "--env-kwargs", "g:5.0", "-params", *FAST])
    assert set(gravities) == {5.0}  # the environment of the score too
    gravities.clear()
    zoo.main(["enjoy", "--env", "Pendulum-v1", "--no-render", "-n", "10"])
    assert set(gravities) == {5.0}


def test_arguments_of_the_environment_in_an_entry_are_those_of_evaluations_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    zoo.main(["train", "--env", "Pendulum-v1", "-n", "60", "-params", "env_kwargs:dict(g=1.0)", *FAST])
    assert "eval_env_kwargs={'g': 1.0}" in capsys.readouterr().out
    (args,) = tmp_path.glob("logs/softac/*/*/args.yml")
    assert yaml.load(args.read_text(), yaml.UnsafeLoader)["env_kwargs"] == {"g": 1.0}


def test_rates_are_saved_without_classes_of_the_zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    zoo.main(["train", "--env", ENV, "-n", "60", "-params", "learning_rate:'lin_1e-3'", *FAST])
    (path,) = tmp_path.glob(f"logs/softac/*/{ENV}.zip")
    assert SoftAC.load(path).learning_rate == "lin_1e-3"


def test_entries_as_people_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that YAML takes for strings, and a class by its module."""
    monkeypatch.chdir(tmp_path)
    options = "n_timesteps: 1e2, policy: MlpPolicy, buffer_size: 1000, tau: 1e-2"
    (tmp_path / "my.yml").write_text(f"{ENV}: {{{options}, replay_buffer_class: sac_ext.DeviceReplayBuffer}}")
    zoo.main(["train", "--env", ENV, "--conf-file", "my.yml"])
    (path,) = tmp_path.glob(f"logs/softac/*/{ENV}.zip")
    model = SoftAC.load(path)
    assert (model.num_timesteps, model.tau) == (100, 0.01)
    assert model.replay_buffer_class is DeviceReplayBuffer


@pytest.fixture
def untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The zoo's managers, which do all but train."""
    monkeypatch.chdir(tmp_path)
    managers: list[Any] = []
    monkeypatch.setattr(ExperimentManager, "learn", lambda self, model: (managers.append(self), model.env.close()))
    return managers


def test_defaults_of_train(untrained: list[Any]) -> None:
    zoo.main(["train", "--env", ENV])
    zoo.main(["train", "--env", ENV, "--tensorboard-log", "curves"])
    zoo.main(["train", "--env", ENV, "--log-interval", "7", "--eval-freq", "9", "-f", "other"])
    found = [(each.show_progress, each.log_interval, each.eval_freq, each.log_folder) for each in untrained]
    assert found == [(True, 100, 5000, "logs"), (True, -1, 5000, "logs"), (True, 7, 9, "other")]


def test_the_score_is_that_of_other_episodes(untrained: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """And of the policy as the zoo evaluates it, which on Atari and MiniGrid is stochastic."""
    seeds, ways = [], []
    make = utils.create_test_env

    def create_test_env(*args: Any, **kwargs: Any) -> Any:
        seeds.append(kwargs["seed"])
        return make(*args, **kwargs)

    def evaluate(model: Any, env: Any, episodes: int, deterministic: bool) -> tuple[float, float]:
        ways.append(deterministic)
        return 0.0, 0.0

    monkeypatch.setattr(utils, "create_test_env", create_test_env)
    monkeypatch.setattr(train, "evaluate_policy", evaluate)
    zoo.main(["train", "--env", ENV, "--seed", "3"])
    monkeypatch.setattr(ExperimentManager, "is_minigrid", staticmethod(lambda env_id: True))
    zoo.main(["train", "--env", ENV, "--seed", "3"])
    assert seeds == [10_003] * 2
    assert ways == [True, False]


def test_evaluations_may_have_arguments_of_their_own(untrained: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    zoo.main(["train", "--env", "Pendulum-v1", "--env-kwargs", "g:9.0", "--eval-env-kwargs", "g:5.0"])
    (manager,) = untrained
    assert (manager.env_kwargs, manager.eval_env_kwargs) == ({"g": 9.0}, {"g": 5.0})


def test_schedules_of_other_algorithms_are_the_zoos(untrained: list[Any]) -> None:
    zoo.main(["train", "--env", ENV, "--algo", "ppo"])
    (manager,) = untrained
    assert manager._hyperparams["learning_rate"](0.5) == pytest.approx(0.0005)


def test_other_algorithms_are_the_zoos_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    zoo.main(["train", "--env", ENV, "--algo", "a2c", "-n", "50"])
    assert list(tmp_path.glob("logs/a2c/*/*.zip"))


def test_curves_for_weights_and_biases(tmp_path: Path) -> None:
    """In a process of its own, since wandb changes how TensorBoard's curves are written in all of it."""
    pytest.importorskip("wandb")
    command = ["train", "--env", ENV, "-n", "150", "--track", "--log-interval", "1", "-params", *FAST]
    environ = os.environ | {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    run = [sys.executable, "-m", "sac_ext.zoo", *command]
    done = subprocess.run(run, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    for name in (b"rollout/ep_rew_mean", b"train/ent_coef", b"train/target_entropy"):
        assert name in written.read_bytes()
