"""What rl-baselines3-zoo does with a trained SoftAC, and its optimize mode, by our commands."""

import gc
import importlib.util
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import optuna
import pytest
import torch as th
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.classic_control.pendulum import PendulumEnv

pytest.importorskip("rl_zoo3")
import yaml
from rl_zoo3 import ALGOS, utils
from rl_zoo3.exp_manager import ExperimentManager

from sac_ext import DeviceReplayBuffer, SoftAC, zoo
from sac_ext.zoo import environments, hub, registration, train
from sac_ext.zoo.options import with_folder_names
from sac_ext.zoo.running import needs
from tests.catalogue import MaskedEnv

ENV = "CartPole-v1"
FAST = ["learning_starts:50", "batch_size:16", "buffer_size:1000", "policy_kwargs:dict(net_arch=[8])"]

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the zoo's, moviepy's and seaborn's own code
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with logs/ of two short trainings, as many as the zoo's plots need."""
    folder = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluations = ["--eval-freq", "100", "--eval-episodes", "2"]
        for seed in ("0", "1"):
            zoo.main(["train", "--env", ENV, "-n", "400", *evaluations, "--seed", seed, "-params", *FAST])
    return folder


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return trained


@pytest.fixture(autouse=True)
def figures_of_its_own() -> Iterator[None]:
    """The zoo's plots draw on top of what an open figure of the same name has."""
    plt.close("all")
    yield
    plt.close("all")


@pytest.fixture
def leaves_environments_open() -> Iterator[None]:
    """As an error in the middle of a command does: their files are closed before warnings are errors again."""
    yield
    gc.collect()


def test_record_video(here: Path) -> None:
    zoo.main(["record_video", "--env", ENV, "-n", "30", "-o", "videos"])
    (video,) = (here / "videos").glob("*.mp4")
    assert video.read_bytes()[4:8] == b"ftyp"


def test_benchmark_from_any_folder(here: Path) -> None:
    """Scores are kept, until another model is trained."""
    models, scores = list((here / "logs" / "softac").glob(f"*/{ENV}.zip")), here / "scores" / f"softac-{ENV}"
    times = []
    for trained_again in (False, False, True):
        if trained_again:
            os.utime(models[0], (time.time() + 60,) * 2)
        zoo.main(["benchmark", "-n", "300", "--num-threads", "1", "--benchmark-dir", "scores"])
        times.append(max(file.stat().st_mtime_ns for file in scores.iterdir()))
    assert times[0] == times[1] < times[2]
    table = (here / "benchmark.md").read_text()
    (row,) = [line for line in table.splitlines() if "softac" in line]
    assert "CartPole-v1" in row


def test_names_with_a_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    pytest.importorskip("minatar")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    env, evaluations = "MinAtar/Breakout-v1", ["--eval-freq", "50", "--eval-episodes", "1"]
    for seed in ("0", "1"):
        zoo.main(["train", "--env", env, "-n", "150", *evaluations, "--seed", seed, "-params", *FAST])
    zoo.main(["benchmark", "-n", "100", "--num-threads", "1"])
    assert "MinAtar-Breakout-v1" in (tmp_path / "benchmark.md").read_text()
    capsys.readouterr()
    zoo.main(["plot_train", "-e", env, "-w", "1"])
    zoo.main(["all_plots", "-e", env, "-o", "results", "--no-display"])
    assert re.search(r"\|MinAtar-Breakout-v1\|\d", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["-e", "MinAtar/Breakout-v1", "A/B-v0", "-f", "some/folder"],
            ["-e", "MinAtar-Breakout-v1", "A-B-v0", "-f", "some/folder"],
        ),
        (["--env=ALE/Pong-v5"], ["--env=ALE-Pong-v5"]),
        (["--env", "CartPole-v1", "-f", "a/b"], ["--env", "CartPole-v1", "-f", "a/b"]),
    ],
)
def test_folders_of_names(options: list[str], expected: list[str]) -> None:
    assert with_folder_names(options) == expected


@pytest.mark.parametrize(
    "options",
    [
        ["enjoy", "--env", ENV],
        ["enjoy", "--env", "MinAtar/Breakout-v1"],
        ["record_video", "--env", ENV, "-f", "elsewhere"],
        ["push_to_hub", "--env", ENV, "-orga", "us"],
        ["plot_train", "-e", "Acrobot-v1", ENV],
        ["all_plots", "-e", ENV, "-f", "a", "b", "-a", "softac", "sac", "--no-display"],
        ["benchmark"],
    ],
    ids=lambda options: " ".join(options[:3]),
)
def test_what_was_not_trained_is_said_in_one_line(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs" / "softac" / "Acrobot-v1_1").mkdir(parents=True)
    with pytest.raises(
        SystemExit, match=r"(nothing trained in .* was found in|no trained models in) .*with -"
    ) as stopped:
        zoo.main(options)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize("command", ["enjoy", "record_video", "push_to_hub"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--exp-id", "7"], "The logs/softac/CartPole-v1_7 folder was not found"),
        (["--load-checkpoint", "7"], "No model found for softac on CartPole-v1, path: .*/rl_model_7_steps.zip"),
        (["--load-last-checkpoint"], "No checkpoint found for softac on CartPole-v1, path: logs/softac/CartPole-v1_2"),
    ],
    ids=lambda values: " ".join(values) if isinstance(values, list) else "",
)
def test_models_that_are_not_there_are_said_in_one_line(
    here: Path, command: str, options: list[str], expected: str
) -> None:
    """With those that there are."""
    there = r"Choose with --exp-id, --load-best or --load-checkpoint from logs/softac/CartPole-v1_\d/"
    with pytest.raises(SystemExit, match=f"^{expected}.*{there}") as stopped:
        zoo.main([command, "--env", ENV, *options])
    assert "\n" not in str(stopped.value)


@pytest.mark.usefixtures("leaves_environments_open")
def test_a_training_that_failed_leaves_the_earlier_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    zoo.main(["train", "--env", ENV, "-n", "60", "-params", *FAST])
    with pytest.raises(TypeError):
        zoo.main(["train", "--env", ENV, "-n", "60", "-params", *FAST[:3], "policy_kwargs:dict(nets=[8])"])
    with pytest.raises(SystemExit, match=r"CartPole-v1_2/CartPole-v1\.zip\. Choose .*CartPole-v1_1/CartPole-v1\.zip$"):
        zoo.main(["enjoy", "--env", ENV, "--no-render", "-n", "20"])
    zoo.main(["enjoy", "--env", ENV, "--no-render", "-n", "20", "--exp-id", "1"])


def test_checkpoints_and_runs_with_names_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    zoo.main(["train", "--env", ENV, "-n", "100", "--save-freq", "50", "--uuid", "-params", *FAST])
    assert "enjoy" not in capsys.readouterr().out.split("Next:")[1]  # which would not find it
    zoo.main(["train", "--env", ENV, "-n", "100", "--save-freq", "50", "-params", *FAST])
    capsys.readouterr()
    zoo.main(["enjoy", "--env", ENV, "--no-render", "-n", "20", "--load-checkpoint", "50"])
    assert "rl_model_50_steps.zip" in capsys.readouterr().out


def test_a_benchmark_of_models_that_cannot_be_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a table without them."""
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "logs" / "softac" / f"{ENV}_1"
    (run / ENV).mkdir(parents=True)
    (run / ENV / "args.yml").write_text(f"env: {ENV}")
    zoo.main(["benchmark", "-n", "20", "--num-threads", "1"])
    assert "softac" not in (tmp_path / "benchmark.md").read_text()


def test_plots(here: Path) -> None:
    zoo.main(["plot_train", "-e", ENV, "-w", "2"])
    assert len(plt.gca().lines) == 2  # one for each training
    zoo.main(["plot_train", "-e", "CartP", "-w", "2"])  # a part of a name, as in the zoo
    zoo.main(["all_plots", "-e", ENV, "-o", "results", "--no-display"])
    assert (here / "results.pkl").exists()
    zoo.main(["plot_from_file", "-i", "results.pkl", "-o", "curves", "--format", "png"])
    assert list(here.glob("curves*"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["all_plots", "--no-display"], r"^no environment is given: .* -e CartPole-v1$"),
        (["plot_from_file", "-i", "nowhere.pkl"], "^-i nowhere.pkl: there is no such file"),
    ],
)
def test_plots_of_nothing(options: list[str], expected: str) -> None:
    with pytest.raises(SystemExit, match=expected):
        zoo.main(options)


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


class SeenMaskedEnv(MaskedEnv):
    """That can be recorded."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.render_mode = render_mode

    def render(self) -> np.ndarray:
        return np.zeros((32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def trained_within_masks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("masked")
    gym.register("Masked-v0", SeenMaskedEnv, kwargs={"actions": "discrete"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ["-n", "120", "--eval-freq", "60", "--eval-episodes", "2"]
        zoo.main(["train", "--env", "Masked-v0", *options, "-params", WITHIN_MASKS, *FAST])
    yield folder
    gym.registry.pop("Masked-v0")


WITHIN_MASKS = "env_wrapper:'sac_ext.ActionMasksInInfo'"


@pytest.mark.parametrize(
    "command",
    [
        ["enjoy", "--no-render", "-n", "100"],
        ["enjoy", "--no-render", "-n", "100", "--n-envs", "2", "--stochastic"],
        ["record_video", "-n", "50"],
        ["train", "-n", "60", "-optimize", "--n-trials", "1", "--n-evaluations", "1", "-params", WITHIN_MASKS, *FAST],
    ],
    ids=lambda command: " ".join(command[:6]),
)
def test_commands_keep_to_action_masks(
    trained_within_masks: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """These environments refuse other actions."""
    monkeypatch.chdir(trained_within_masks)
    zoo.main([command[0], "--env", "Masked-v0", *command[1:]])
    files = [*trained_within_masks.glob("logs/softac/Masked-v0_1/*.zip")]
    assert {file.stem for file in files} == {"best_model", "Masked-v0"}
    for file in files:
        assert SoftAC.load(file, buffer_size=1000).head.mask_sizes == (4,)


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


# ---------------------------------------------------------------- the hub


class Hub:
    """What would go to the hub stays in a folder."""

    def __init__(self) -> None:
        self.uploads: list[Path] = []

    def create_repo(self, **_: Any) -> str:
        return "the hub"

    def snapshot_download(self, *, local_dir: Path, **_: Any) -> None:
        local_dir.mkdir(parents=True, exist_ok=True)

    def upload_folder(self, *, folder_path: Path, **_: Any) -> None:
        self.uploads.append(folder_path)


def test_errors_of_the_hub_are_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUST_REMOTE_CODE", "True")
    from huggingface_hub.errors import OfflineModeIsEnabled

    hub._name_what_was_renamed()  # before the module that lacks it is imported

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise OfflineModeIsEnabled("Cannot reach\nthe hub")

    import rl_zoo3.load_from_hub
    import rl_zoo3.push_to_hub

    monkeypatch.setattr(rl_zoo3.load_from_hub, "load_from_hub", unreachable)
    monkeypatch.setattr(rl_zoo3.push_to_hub, "HfApi", unreachable)
    for command in (["load_from_hub", "-f", "loaded"], ["push_to_hub", "--no-render"]):
        with pytest.raises(SystemExit, match=r"^The Hugging Face hub: Cannot reach the hub$"):
            zoo.main([*command, "--env", ENV, "-orga", "us"])


def test_push_to_hub_and_back(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import EntryNotFoundError

    hub._name_what_was_renamed()  # before the module that lacks it is imported
    import rl_zoo3.load_from_hub
    import rl_zoo3.push_to_hub

    there = Hub()
    monkeypatch.setattr(rl_zoo3.push_to_hub, "HfApi", lambda: there)
    zoo.main(["push_to_hub", "--env", ENV, "-orga", "us", "--no-render"])
    (folder,) = there.uploads
    card = (folder / "README.md").read_text()
    assert f"softac-zoo load_from_hub --env {ENV} -orga us" in card
    assert "rl_zoo3.enjoy" not in card
    assert "SoftAC" in card.split("---")[1]  # the metadata
    assert (folder / f"softac-{ENV}.zip").exists()

    def download(_: Any, name: str) -> str:
        if not (folder / name).exists():
            raise EntryNotFoundError(name)
        return str(folder / name)

    monkeypatch.setattr(rl_zoo3.load_from_hub, "load_from_hub", download)
    with pytest.raises(SystemExit, match="TRUST_REMOTE_CODE=True"):
        zoo.main(["load_from_hub", "--env", ENV, "-orga", "us", "-f", "loaded"])
    monkeypatch.setenv("TRUST_REMOTE_CODE", "True")
    zoo.main(["load_from_hub", "--env", ENV, "-orga", "us", "-f", "loaded"])
    (model,) = (here / "loaded" / "softac").glob(f"*/{ENV}.zip")
    loaded = SoftAC.load(model)
    assert loaded.num_timesteps == 400
    assert loaded.buffer_size == 1000


@pytest.mark.parametrize("env_kwargs", [{}, {"g": 5.0}])
def test_a_card_has_the_arguments_of_the_environment(env_kwargs: dict[str, Any]) -> None:
    hub._name_what_was_renamed()
    card, _ = hub.model_card("softac", "SoftAC", "us", "Pendulum-v1", -150.0, 10.0, {"tau": 0.1}, env_kwargs)
    assert ("## Arguments of the environment" in card) == ("{'g': 5.0}" in card) == bool(env_kwargs)


# ---------------------------------------------------------------- optimize


@pytest.mark.parametrize(("env", "name"), [(ENV, "discrete"), ("Pendulum-v1", "box")])
def test_optimize_then_train_with_a_trial(
    env: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    study = ["--study-name", "study", "--storage", "study.log"]
    short = ["--env", env, "-n", "120", "--num-threads", "1", *study]
    options = ["-optimize", "--n-trials", "2", "--n-jobs", "1", "--no-optim-plots", "--n-evaluations", "1"]
    zoo.main(["train", *short, *options, "--eval-episodes", "1", "-params", *FAST])
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("study.log"))
    trials = optuna.load_study(study_name="study", storage=storage).trials
    assert len(trials) == 2
    zoo.main(["train", *short, "--trial-id", "0", "--eval-freq", "-1", "-params", *FAST])
    (path,) = tmp_path.glob(f"logs/softac/*/{env}.zip")
    model = SoftAC.load(path)
    params = trials[0].params
    assert model.tau == params["tau"]
    assert model.actor_learning_rate == params["actor_learning_rate"]
    learned = params["alpha"] == "learned"
    assert model.ent_coef == (f"auto_{params['alpha_initial']}" if learned else params["alpha_fixed"])
    config = yaml.load((path.parent / env / "config.yml").read_text(), yaml.UnsafeLoader)
    assert dict(config)["tau"] == params["tau"]


@pytest.mark.parametrize("n_actions", [0, 2])
def test_the_converter_gives_what_the_sampler_gave(n_actions: int) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(20):
        trial = study.ask()
        sampled = registration.sample_params(trial, n_actions, 1, {})
        assert registration.convert_params(trial.params) == sampled
        if trial.params["alpha"] == "fixed":  # an entry may have one, for a learned coefficient
            assert sampled["ent_coef_learning_rate"] is None


def test_a_trial_needs_its_study() -> None:
    with pytest.raises(SystemExit, match="give --storage and --study-name"):
        zoo.main(["train", "--env", ENV, "--trial-id", "0"])


@pytest.mark.parametrize(("study", "trial", "error"), [("study", "5", "IndexError"), ("other", "0", "KeyError")])
def test_trials_that_are_not_there(
    study: str, trial: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend("study.log"))
    optuna.create_study(study_name="study", storage=storage)
    which = ["--storage", "study.log", "--study-name", study, "--trial-id", trial]
    expected = f"^--study-name {study} in --storage study.log: cannot load trial {trial}: {error}"
    with pytest.raises(SystemExit, match=expected):
        zoo.main(["train", "--env", ENV, *which])


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


# ---------------------------------------------------------------- bad input


def test_options_are_no_hyperparameters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="'device' cannot be set in an entry: use the option --device"):
        zoo.main(["train", "--env", ENV, "-params", "device:'cpu'"])


@pytest.mark.parametrize(
    ("env", "module"),
    [
        ("MinAtar/Nothing-v1", "minatar"),
        ("ALE/Nothing-v5", "ale_py"),
        ("NothingNoFrameskip-v4", "ale_py"),
        ("FetchNothing-v4", "gymnasium_robotics"),
        ("FetchReach-v4", "mujoco"),
        ("PointMaze_Nothing-v3", "gymnasium_robotics"),
        ("LunarLander-v3", "Box2D"),
        ("HalfCheetah-v5", "mujoco"),
    ],
)
def test_a_missing_package_of_an_environment_is_one_line(
    env: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == module else find(name, *a))
    with pytest.raises(SystemExit, match=rf'^{module} is not installed.*pip install "sac-ext\[envs\]"$'):
        environments.check(env)


def test_strings_without_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^name 'CnnPolicy' is not defined, .* policy:\"'CnnPolicy'\"$"):
        zoo.main(["train", "--env", ENV, "-params", "policy:CnnPolicy"])


def test_a_typo_in_an_entry_names_the_nearest_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yml").write_text(f"{ENV}:\n  n_timesteps: 100\n  policy: MlpPolicy\n  lerning_starts: 10\n")
    with pytest.raises(SystemExit, match="knows the hyperparameter 'lerning_starts'; did you mean 'learning_starts'"):
        zoo.main(["train", "--env", ENV, "--conf-file", "my.yml"])
    assert not list(tmp_path.glob("logs/softac/*/*.zip"))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{policy: MlpPolicy}", "the entry has no n_timesteps"),
        ("{n_timesteps: 100}", "the entry has no policy"),
        ("{n_timesteps: many, policy: MlpPolicy}", "n_timesteps must be a number, got the string 'many'"),
        ("{n_timesteps: 0, policy: MlpPolicy}", "n_timesteps must be"),
        (
            "{n_timesteps: 9, policy: MlpPolicy, normalize: true, frame_stack: 2}",
            "normalize and frame_stack cannot be combined",
        ),
        ("{n_timesteps: 9, policy: MlpPolicy, replay_buffer_class: sac_ext.Buffer}", "there is no 'sac_ext.Buffer'"),
        ("{n_timesteps: 9, policy: MlpPolicy, tau: 2.0}", "tau must be"),
        ("", "my.yml has neither an entry"),
        ("[1]", "my.yml has neither an entry"),
    ],
)
@pytest.mark.usefixtures("leaves_environments_open")
def test_entries_that_cannot_work(entry: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yml").write_text(f"{ENV}: {entry}")
    with pytest.raises(SystemExit, match=re.escape(expected)) as stopped:
        zoo.main(["train", "--env", ENV, "--conf-file", "my.yml"])
    assert "\n" not in str(stopped.value)


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


NO_DEFAULT = "Pendulum-v1:\n  n_timesteps: 100\n  policy: MlpPolicy\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-i", "nowhere.zip"], "-i nowhere.zip: there is no such model file"),
        (["--trained-agent", "my.yml"], "-i my.yml: there is no such model file"),
        (["--conf-file", "nowhere.yml"], "--conf-file nowhere.yml: there is no such file"),
        (["-conf", "nowhere.py"], "--conf-file nowhere.py: there is no such file"),
        (["-conf", "my.yml"], f"my.yml: my.yml has neither an entry for {ENV} nor a default"),
        (["-conf", "broken.yml"], "broken.yml: broken.yml is not valid YAML"),
        (["-conf", "empty.yml"], "empty.yml: empty.yml must map environments to their entries, got None"),
        (["-conf", "empty.py"], "empty.py: KeyError: 'hyperparams'"),
        (["-conf", "no.module"], "no.module: ModuleNotFoundError: No module named 'no'"),
    ],
)
def test_files_that_are_not_there(
    options: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yml").write_text(NO_DEFAULT)
    (tmp_path / "broken.yml").write_text("a: [1")
    for name in ("empty.yml", "empty.py"):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit, match=f"^{re.escape(expected)}"):
        zoo.main(["train", "--env", ENV, "-n", "60", *options])
    assert not list(tmp_path.glob("logs/softac/*/*.zip"))


@pytest.mark.usefixtures("leaves_environments_open")
def test_a_package_that_gymnasium_misses_is_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*args: Any, **kwargs: Any) -> None:
        raise gym.error.DependencyNotInstalled("pygame is not installed,\nrun pip")

    monkeypatch.setattr(CartPoleEnv, "__init__", make)
    with pytest.raises(SystemExit, match=r"^pygame is not installed, run pip$"):
        zoo.main(["enjoy", "--env", ENV, "--no-render"])


# ---------------------------------------------------------------- what train does beside the zoo's


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


def test_what_is_played_has_no_replay_buffer(here: Path) -> None:
    zoo.main(["enjoy", "--env", ENV, "--no-render", "-n", "10"])
    assert ALGOS["softac"] is zoo.PlayedSoftAC


def test_other_algorithms_are_the_zoos_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    zoo.main(["train", "--env", ENV, "--algo", "a2c", "-n", "50"])
    assert list(tmp_path.glob("logs/a2c/*/*.zip"))


MISSING = {
    "train --track": "wandb",
    "train -optimize": "optuna",
    "train -opt": "pandas",
    "train --tensorboard-log curves": "tensorboard",
    "enjoy": "requests",
    "record_video": "moviepy",
    "benchmark": "pandas",
    "plot_train": "seaborn",
    "all_plots": "scipy",
    "plot_from_file": "rliable",
    "push_to_hub": "huggingface_hub",
    "load_from_hub": "requests",
}


def test_missing_extras_are_one_line_each_with_the_way_out(tmp_path: Path) -> None:
    """Also where nothing of them has been imported before."""
    script = f"""
import importlib.util, sys
find, module = importlib.util.find_spec, None
importlib.util.find_spec = lambda name, *a: None if name == module else find(name, *a)
from sac_ext import zoo
for command, module in {MISSING}.items():
    try:
        zoo.main(command.split())
    except SystemExit as stopped:
        print(stopped, file=sys.stderr)
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
        timeout=300,
    )
    extras = [(name, "wandb" if name == "wandb" else "zoo") for name in MISSING.values()]
    lines = [f'{name} is not installed. This command needs: pip install "sac-ext[{extra}]"' for name, extra in extras]
    assert result.stderr.strip().splitlines() == lines


def test_what_is_there_is_not_missing() -> None:
    assert needs("zoo", "rl_zoo3", "torch") is None
