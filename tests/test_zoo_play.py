"""Commands for trained models: enjoy, record_video, benchmark and the plots."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest

pytest.importorskip("rl_zoo3")
from rl_zoo3 import ALGOS

from sac_ext import zoo
from sac_ext.zoo.options import with_folder_names
from tests.zoo_help import ENV, FAST

pytestmark = pytest.mark.filterwarnings("ignore")  # of the zoo's, moviepy's and seaborn's own code


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


def test_what_is_played_has_no_replay_buffer(here: Path) -> None:
    zoo.main(["enjoy", "--env", ENV, "--no-render", "-n", "10"])
    assert ALGOS["softac"] is zoo.PlayedSoftAC
