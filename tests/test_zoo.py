"""``python -m sac_ext.zoo``: the configurations build, train trains and scores, enjoy plays what was saved."""

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

pytest.importorskip("rl_zoo3")
import yaml
from rl_zoo3 import ALGOS

from sac_ext import SoftAC, zoo
from sac_ext.tuning.entries import arguments_of
from sac_ext.tuning.environments import EnvironmentSpec
from sac_ext.zoo import options as zoo_options
from tests.zoo_help import FAST

pytestmark = pytest.mark.filterwarnings("ignore:rich is experimental", "ignore::DeprecationWarning")

CONFIG: dict[str, dict[str, Any]] = yaml.safe_load((files("sac_ext.zoo_configs") / "softac.yml").read_text())


def run(*arguments: str, folder: Path) -> None:
    zoo.main([*arguments, "--num-threads", "1", "-f", str(folder)])


PACKAGES = {"MinAtar": "minatar", "atari": "ale_py", "v5": "mujoco", "Fetch": "gymnasium_robotics"}
STANDS_FOR = {"default": "CartPole-v1", "atari": "ALE/Pong-v5"}


@pytest.mark.parametrize("name", CONFIG)
def test_configurations_train(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For 200 steps, half of them with gradient steps."""
    monkeypatch.chdir(tmp_path)  # where MuJoCo logs its warnings
    for part, package in PACKAGES.items():
        if part in name:
            pytest.importorskip(package)
    entry = CONFIG[name]
    assert float(entry["n_timesteps"]) >= 1000
    zoo.register(asked_for=[name])  # environments of other packages too
    env = EnvironmentSpec.of_entry(STANDS_FOR.get(name, name), entry, {}).make(0)
    changed = {"learning_starts": 100, "train_freq": 50, "gradient_steps": 20, "buffer_size": 1000}
    model = SoftAC(env=env, seed=0, device="cpu", **arguments_of(entry) | changed).learn(200)
    assert model._n_updates >= 40
    env.close()


def test_every_entry_says_what_is_known_of_it() -> None:
    text = (files("sac_ext.zoo_configs") / "softac.yml").read_text()
    for name in CONFIG:
        (above,) = re.findall(rf"((?:^#.*\n)+)^{re.escape(name)}:", text, re.MULTILINE)
        comment = " ".join(above.replace("#", "").split())
        assert re.search(r"Tuned here|Taken over|Not tuned|Untested beyond a few steps", comment), (name, comment)


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "CartPole-v0"])  # the last has no entry
def test_train_then_enjoy(env: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(
        "train", "--env", env, "-n", "300", "--eval-freq", "150", "--eval-episodes", "1", "--seed", "3",
        "-params", *FAST, folder=tmp_path,
    )  # fmt: skip
    trained = capsys.readouterr().out
    assert ("Using 'default' hyperparameters" in trained) == (env not in CONFIG)
    assert re.search(r"Score of the final policy: -?\d+\.\d+ \+/- \d+\.\d+ \(20 deterministic episodes\)", trained)
    commands = [shlex.split(line, comments=True) for line in trained.split("Next:")[1].strip().splitlines()]
    assert [command[1] for command in commands] == ["enjoy", "enjoy", "train"]
    assert commands[2][-2:] == ["--seed", "4"]
    for command in commands[:2]:
        assert Path(command[0]).name == "softac-zoo"
        assert Path(command[0]).exists()
        zoo.main([*command[1:], "--no-render", "-n", "1000"])
        assert "Mean reward" in capsys.readouterr().out
    assert (tmp_path / "softac" / f"{env}_1" / f"{env}.zip").exists()
    assert SoftAC.load(tmp_path / "softac" / f"{env}_1" / f"{env}.zip").num_timesteps == 300
    assert (tmp_path / "softac" / f"{env}_1" / "best_model.zip").exists()


def test_normalized_runs_are_scored_with_their_statistics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("train", "--env", "Pendulum-v1", "-n", "200", "-params", "normalize:True", *FAST, folder=tmp_path)
    score = float(re.search(r"final policy: (-?\d+)", capsys.readouterr().out)[1])  # type: ignore[index]
    assert score < -200  # returns as they are, not divided by their deviation


@pytest.mark.parametrize("option", ["-fX", "--log-fold X", "--log-folder=X"])
def test_options_given_win_over_defaults(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    zoo.main(["train", "--env", "CartPole-v1", "-n", "60", *option.split(), "-params", *FAST])
    assert [path.name for path in tmp_path.iterdir()] == ["X"]


def test_register_adds_to_the_zoos_table() -> None:
    zoo.register()
    assert ALGOS["softac"] is SoftAC


def test_loading_to_play_allocates_no_replay_buffer(tmp_path: Path) -> None:
    SoftAC("MlpPolicy", "CartPole-v1", buffer_size=5000).save(tmp_path / "model")
    assert zoo.PlayedSoftAC.load(tmp_path / "model").replay_buffer.buffer_size == 1


@pytest.mark.parametrize("arguments", [[], ["fly"], ["fly", "--env", "x"]])
def test_unknown_commands(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"usage: softac-zoo \{train,enjoy,record_video,"):
        zoo.main(arguments)


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    zoo.main(["--help"])
    assert "usage: softac-zoo {train,enjoy,record_video," in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    ["train", "enjoy", "record_video", "benchmark", "plot_train", "all_plots", "push_to_hub", "load_from_hub"],
)
def test_help_of_a_command(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Is the zoo's, also where nothing has been trained."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        zoo.main([command, "--help"])
    assert stopped.value.code == 0
    assert "usage: " in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_unknown_environment_suggests_one() -> None:
    with pytest.raises(
        SystemExit, match=r"^gymnasium does not know the environment 'CartPoel-v1': did you mean CartPole-v1\?$"
    ):
        zoo.main(["train", "--env", "CartPoel-v1"])
    with pytest.raises(SystemExit, match=r"with --gym-packages$"):
        zoo.main(["enjoy", "--env", "Zzz-v0"])
    with pytest.raises(SystemExit, match=r"^--gym-packages nosuch cannot be imported: No module named 'nosuch'$"):
        zoo.main(["train", "--env", "Zzz-v0", "--gym-packages", "nosuch"])


LATER = """
import gymnasium
gymnasium.register("Later-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=9)
"""


@pytest.fixture
def later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A package that registers an environment. To be called to forget that it did, as in a new process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "later.py").write_text(LATER)

    def forget() -> None:
        gym.registry.pop("Later-v0", None)
        sys.modules.pop("later", None)

    yield forget
    forget()


def test_packages_may_register_environments(
    later: Callable[[], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also for commands whose own parsers in the zoo do not know of them."""
    packages = ["--gym-packages", "later"]
    zoo.main(["train", "--env", "Later-v0", "-n", "60", *packages, "-params", *FAST])
    watch = shlex.split(capsys.readouterr().out.split("Next:")[1].splitlines()[1], comments=True)
    commands = [[*watch[1:], "--no-render", "-n", "20"], ["record_video", "--env", "Later-v0", "-n", "20", *packages]]
    for command in commands:
        later()
        zoo.main(command)
    later()
    zoo.main(["benchmark", "-n", "30", "--num-threads", "1", *packages])
    assert "Later-v0" in (tmp_path / "benchmark.md").read_text()


def test_packages_with_an_equals_sign(later: Callable[[], None]) -> None:
    zoo.main(["train", "--env", "Later-v0", "-n", "60", "--gym-packages=later", "-params", *FAST])


NO_COMMAND_HAS_IMPORTED = """
import sys
from sac_ext import zoo
from sac_ext.zoo import environments
for name in sys.argv[1:]:
    zoo.register(asked_for=[name])
    environments.check(name)
"""


def test_environments_of_the_zoo_are_known_in_a_new_process() -> None:
    names = ["CartPoleNoVel-v1"]
    if importlib.util.find_spec("ale_py"):
        names += ["ALE/Pong-v5", "PongNoFrameskip-v4"]
    run = [sys.executable, "-W", "ignore", "-c", NO_COMMAND_HAS_IMPORTED, *names]
    assert subprocess.run(run, capture_output=True, text=True, check=False).stderr == ""


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--env", "A-v0", "-n", "60"], ["A-v0"]),
        (["-n", "60", "--env=A-v0"], ["A-v0"]),
        (["-e", "A-v0", "MinAtar/B-v1", "-f", "logs"], ["A-v0", "MinAtar/B-v1"]),
        (["--env-kwargs", "x:1"], []),
    ],
)
def test_environments_in_the_options_of_a_command(options: list[str], names: list[str]) -> None:
    assert zoo_options.environments_of(options) == names


def test_without_rl_zoo3_there_is_one_line_with_the_way_out() -> None:
    script = "import sys; sys.modules['rl_zoo3'] = None; from sac_ext import zoo; zoo.main(['train'])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.strip().endswith('pip install "sac-ext[zoo]"')
    assert len(result.stderr.strip().splitlines()) == 1
