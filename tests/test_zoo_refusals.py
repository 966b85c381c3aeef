"""What the zoo's commands refuse, in one line each."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

pytest.importorskip("rl_zoo3")

from sac_ext import zoo
from sac_ext.zoo import environments
from sac_ext.zoo.running import needs
from tests.zoo_help import ENV

pytestmark = pytest.mark.filterwarnings("ignore")  # of the zoo's own code


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
