"""What rl-baselines3-zoo does with a trained SoftAC, and its optimize mode, by our commands."""

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
from gymnasium.envs.classic_control.pendulum import PendulumEnv

pytest.importorskip("rl_zoo3")
import yaml

from sac_ext import SoftAC, zoo
from sac_ext.zoo import environments, hub, registration, runs
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
    assert runs.folder_names(options) == expected


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
    if options == ["benchmark"]:
        monkeypatch.chdir(tmp_path / "logs" / "softac")
    with pytest.raises(SystemExit, match=r"(nothing was|no folder logs of) trained.*by -") as stopped:
        zoo.main(options)
    assert "\n" not in str(stopped.value)


def test_plots(here: Path) -> None:
    zoo.main(["plot_train", "-e", ENV, "-w", "2"])
    assert len(plt.gca().lines) == 2  # one for each training
    zoo.main(["all_plots", "-e", ENV, "-o", "results", "--no-display"])
    assert (here / "results.pkl").exists()
    zoo.main(["plot_from_file", "-i", "results.pkl", "-o", "curves", "--format", "png"])
    assert list(here.glob("curves*"))


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
    with pytest.raises(SystemExit, match="'device' is no hyperparameter of an entry but an option: --device"):
        zoo.main(["train", "--env", ENV, "-params", "device:'cpu'"])


@pytest.mark.parametrize(
    ("env", "module"),
    [
        ("MinAtar/Nothing-v1", "minatar"),
        ("ALE/Nothing-v5", "ale_py"),
        ("FetchNothing-v4", "gymnasium_robotics"),
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


def test_a_typo_in_an_entry_names_the_nearest_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yml").write_text(f"{ENV}:\n  n_timesteps: 100\n  policy: MlpPolicy\n  lerning_starts: 10\n")
    with pytest.raises(SystemExit, match="knows the hyperparameter 'lerning_starts'; did you mean 'learning_starts'"):
        zoo.main(["train", "--env", ENV, "--conf-file", "my.yml"])
    assert not list(tmp_path.glob("logs/softac/*/*.zip"))


NO_DEFAULT = "Pendulum-v1:\n  n_timesteps: 100\n  policy: MlpPolicy\n"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-i", "nowhere.zip"], "-i nowhere.zip: there is no such file"),
        (["--trained-agent", "my.yml"], "-i my.yml: there is no such file of a model"),
        (["--conf-file", "nowhere.yml"], "--conf-file nowhere.yml: there is no such file"),
        (["-conf", "nowhere.py"], "--conf-file nowhere.py: there is no such file"),
        (["-conf", "my.yml"], f"my.yml: Hyperparameters not found for softac-{ENV}"),
        (["-conf", "broken.yml"], "broken.yml: while parsing"),
    ],
)
def test_files_that_are_not_there(
    options: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.yml").write_text(NO_DEFAULT)
    (tmp_path / "broken.yml").write_text("a: [1")
    with pytest.raises(SystemExit, match=f"^{re.escape(expected)}"):
        zoo.main(["train", "--env", ENV, "-n", "60", *options])
    assert not list(tmp_path.glob("logs/softac/*/*.zip"))


def test_other_algorithms_are_the_zoos_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    zoo.main(["train", "--env", ENV, "--algo", "a2c", "-n", "50"])
    assert list(tmp_path.glob("logs/a2c/*/*.zip"))


MISSING = {
    "enjoy": "requests",
    "record_video": "moviepy",
    "benchmark": "pandas",
    "plot_train": "seaborn",
    "all_plots": "scipy",
    "plot_from_file": "rliable",
    "push_to_hub": "huggingface_hub",
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
        zoo.main([command])
    except SystemExit as stopped:
        print(stopped, file=sys.stderr)
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    lines = [f'{name} is not installed. This command needs: pip install "sac-ext[zoo]"' for name in MISSING.values()]
    assert result.stderr.strip().splitlines() == lines


def test_what_is_there_is_not_missing() -> None:
    assert needs("zoo", "rl_zoo3", "torch") is None
