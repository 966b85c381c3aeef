"""The commands, as users call them."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml

from sac_ext import SoftAC
from sac_ext.tuning import commands, validate
from sac_ext.tuning.cli import COMMANDS, main
from sac_ext.tuning.entries import arguments_of, load_entry
from sac_ext.tuning.environments import EnvironmentSpec
from sac_ext.tuning.evaluate import train
from sac_ext.tuning.runs import Contender, Runs
from sac_ext.tuning.settings import settings_of
from sac_ext.tuning.statistics import compare, interquartile_mean
from sac_ext.tuning.storage import open_storage
from sac_ext.tuning.trials import book_of
from tests.tuning_help import HYPERPARAMS, NAME, OPTIONS, call, environment, journal, new_study, opened, run_trials

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> optuna.Study:
    """Of three complete trials, in the current folder."""
    monkeypatch.chdir(tmp_path)
    found = new_study(tmp_path, pruner="none")
    run_trials(found, 3)
    return found


def test_tune_from_the_beginning_to_the_end(tmp_path: Path) -> None:
    done = call(tmp_path, "tune", *OPTIONS, "--trials", "3", "--jobs", "2", "--timeout", "1h")
    assert done.returncode == 0, done.stderr
    assert "3 trials wanted" in done.stdout
    assert "Best: " in done.stdout
    assert "Baseline: " in done.stdout
    book = book_of(opened(tmp_path))
    assert len(book.finished) == len(book.all) == 3
    again = call(tmp_path, "tune", "--study", NAME, "--trials", "3")  # the settings are the study's
    assert again.returncode == 0
    assert "Best: " in again.stdout
    assert len(book_of(opened(tmp_path)).all) == 3


@pytest.mark.slow
def test_a_tune_that_is_out_of_time_goes_on_later(tmp_path: Path) -> None:
    slow = ["tune", *OPTIONS, "--env-kwargs", "seconds:0.05", "--trials", "50"]
    done = call(tmp_path, *slow, "--timeout", "12s")
    assert done.returncode == 0, done.stderr
    assert "Stopped (deadline). Run the same command again to continue." in done.stdout
    book = book_of(opened(tmp_path))
    assert len(book.finished) < 50
    assert not book.running


@pytest.mark.slow
def test_failures_in_a_row_end_it_with_what_went_wrong(tmp_path: Path) -> None:
    done = call(tmp_path, "tune", *OPTIONS, "--env-kwargs", "wrong:exception", "--trials", "9", "--max-failures", "2")
    assert done.returncode == 1
    assert "the simulator has crashed" in done.stdout
    assert len(book_of(opened(tmp_path)).failed) == 2


def test_dry_run_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["tune", *OPTIONS, "--trials", "7", "--seeds", "2", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "7 trials, 280 steps" in output
    assert "tau: 0.001 to 0.1, log" in output
    assert "target_end: 0.02 to 0.5, log, when alpha is learned" in output
    assert "Estimated time with 1 jobs" in output
    assert not Path(journal(tmp_path)).exists()


def test_going_on_with_a_study_of_other_versions_is_warned_of(study: optuna.Study, capsys: Any) -> None:
    now = study.user_attrs["versions"]
    before = {name: version for name, version in now.items() if name != "seeding"} | {"torch": "1.0"}
    study.set_user_attr("versions", before)
    assert main(["tune", "--study", NAME, "--trials", "3"]) == 0
    changed = f"torch 1.0, now {now['torch']}; seeding unknown, now 2."
    assert f"Warning: the study began with {changed}" in capsys.readouterr().out


# ---------------------------------------------------------------- what a study has


def test_status_prints_counts_and_the_best(study: optuna.Study, capsys: Any) -> None:
    assert main(["status"]) == 0
    output = capsys.readouterr().out
    assert "3 complete, 0 pruned, 0 failed, 0 running, 0 waiting" in output
    assert f"Best:     {book_of(study).best()[0].value:.2f}" in output
    assert "A complete trial takes" in output


def test_best_writes_an_entry_that_makes_the_same_model(study: optuna.Study, tmp_path: Path, capsys: Any) -> None:
    assert main(["best", "--trial", "2", "-o", "best.yml"]) == 0
    entry = load_entry(tmp_path / "best.yml", "Toy-v0")
    settings = settings_of(study)
    trial = study.trials[2]
    expected = settings.parsed_space().arguments(trial.params, settings.base())
    assert arguments_of(entry) == expected
    assert entry["n_timesteps"] == 20
    assert all(type(value) in (str, int, float) for value in entry.values())
    protocol = settings.protocol
    arguments = arguments_of(entry)
    curve = train(lambda env, seed: SoftAC(**arguments, env=env, seed=seed), settings.env, 0, protocol)
    assert protocol.score(curve) == trial.value


def test_best_does_not_replace_a_file_silently(study: optuna.Study, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "best.yml"
    path.write_text("mine")
    assert main(["best", "-o", "best.yml"]) == 2
    assert "best.yml exists" in capsys.readouterr().err
    assert path.read_text() == "mine"
    assert main(["best", "-o", "best.yml", "--force"]) == 0
    assert "Toy-v0" in yaml.safe_load(path.read_text())


def test_best_prints_as_many_entries_as_are_asked_for(study: optuna.Study, capsys: Any) -> None:
    assert main(["best", "--top", "2"]) == 0
    output = capsys.readouterr().out
    best = book_of(study).best(2)
    assert [line for line in output.splitlines() if line.startswith("# Study")] == [
        f"# Study toy: {commands.trial_line(trial)}, of 3 complete trials." for trial in best
    ]


def test_best_leaves_out_what_belongs_to_choices_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    study = new_study(tmp_path, hyperparams=HYPERPARAMS | {"ent_coef_learning_rate": 1e-3})
    params = {"actor_learning_rate": 1e-3, "critic_learning_rate": 1e-3, "tau": 0.01, "alpha": "fixed"}
    study.enqueue_trial(params | {"alpha_fixed": 0.2})
    run_trials(study, 2)
    assert main(["best", "--trial", "1", "-o", "best.yml"]) == 0
    entry = load_entry(tmp_path / "best.yml", "Toy-v0")
    assert entry["ent_coef"] == 0.2
    assert "ent_coef_learning_rate" not in entry
    assert "--env Toy-v0 --conf-file best.yml --gym-packages tests.toy" in capsys.readouterr().out


def test_a_worker_wants_as_many_trials_as_tune_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = new_study(tmp_path)
    study.set_user_attr("trials", 2)
    done = call(tmp_path, "worker", "--study", NAME)
    assert done.returncode == 0, done.stderr
    assert len(book_of(opened(tmp_path)).all) == 2


@pytest.mark.slow
def test_the_zoo_trains_with_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hyperparams = {"learning_starts": 10, "buffer_size": 200, "policy_kwargs": "dict(net_arch=[8])"}
    run_trials(new_study(tmp_path, env="CartPole-v1", hyperparams=hyperparams), 2)
    assert main(["best", "-o", "best.yml"]) == 0
    command = [sys.executable, "-W", "ignore", "-m", "sac_ext.zoo", "train", "--env", "CartPole-v1"]
    command += ["--conf-file", "best.yml", "--eval-freq", "-1"]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment(), capture_output=True)
    (model,) = (tmp_path / "logs" / "softac").glob("*/CartPole-v1.zip")
    best = book_of(opened(tmp_path)).best()[0]
    assert SoftAC.load(model).tau == best.params["tau"]


def test_export_writes_every_trial_and_whether_it_counts(study: optuna.Study, tmp_path: Path) -> None:
    study.enqueue_trial({}, user_attrs={"retry_of": 0})
    assert main(["export"]) == 0
    frame = pd.read_csv(tmp_path / "tuning-logs" / NAME / "trials.csv")
    assert list(frame["counts"]) == [False, True, True, True]
    assert list(frame["value"][:3]) == [trial.value for trial in study.trials[:3]]
    assert frame["params_tau"][1] == study.trials[1].params["tau"]


def test_plots_are_written_as_png_and_html(study: optuna.Study, tmp_path: Path, capsys: Any) -> None:
    assert main(["plot", "-o", "plots"]) == 0
    for name in ("history", "importances", "slices", "curves", "timeline"):
        assert (tmp_path / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG"), capsys.readouterr().out
        assert "plotly" in (tmp_path / "plots" / f"{name}.html").read_text()


def test_plots_of_too_little_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    run_trials(new_study(tmp_path), 1)
    assert main(["plot", "--only", "importances"]) == 0
    assert "needs 2 complete trials, there are 1" in capsys.readouterr().out


def test_reap_leaves_a_running_trial_alone_unless_it_is_named(study: optuna.Study, capsys: Any) -> None:
    trial = study.ask()
    trial.suggest_float("tau", 1e-3, 1e-1, log=True)
    assert main(["reap"]) == 0  # nothing is known of its process
    assert "Enqueued again: none" in capsys.readouterr().out
    assert main(["reap", "--trial", "0"]) == 2
    assert "Trial 0 is not running. Running: 3" in capsys.readouterr().err
    assert main(["reap", "--trial", "3"]) == 0
    (waiting,) = book_of(study).waiting
    assert waiting.system_attrs["fixed_params"] == trial.params


def test_repair_takes_broken_lines_out_and_loses_no_trial(study: optuna.Study, tmp_path: Path, capsys: Any) -> None:
    assert main(["repair"]) == 0
    assert "Nothing is broken" in capsys.readouterr().out
    with Path(journal(tmp_path)).open("ab") as file:
        file.write(b'{"op_\n{"op')
    assert main(["repair"]) == 0
    assert "Removed the broken lines" in capsys.readouterr().out
    assert len(book_of(opened(tmp_path)).complete) == 3


def test_dashboard_becomes_optuna_dashboard_on_the_journal(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    became: list[Any] = []
    monkeypatch.setattr(os, "execvp", lambda *arguments: became.append(arguments))
    main(["dashboard"])
    ((program, arguments),) = became
    assert Path(program).name == "optuna-dashboard"
    assert arguments[1] == str(Path("tuning-logs") / NAME / "journal.log")


# ---------------------------------------------------------------- validation


def test_validation_is_on_new_seeds_and_does_no_run_twice(study: optuna.Study, tmp_path: Path, capsys: Any) -> None:
    options = ["validate", "--top", "2", "--validation-seeds", "2", "--test-seeds", "3", "--episodes", "2"]
    assert main(options) == 0
    folder = tmp_path / "tuning-logs" / NAME
    report = json.loads((folder / "validation.json").read_text())
    seeds = report["seeds"]
    assert seeds == {"tuning": [0], "validation": [100, 101], "test": [1000, 1001, 1002]}
    scores = report["validation_scores"]
    assert set(scores) == {f"trial {trial.number}" for trial in book_of(study).best(2)}
    assert report["winner"] == max(scores, key=lambda name: interquartile_mean(scores[name]))
    assert set(report["test_scores"]) == {report["winner"], "baseline", "SB3's DQN"}
    settings = settings_of(study)
    base = settings.base()
    curve = train(lambda env, seed: SoftAC(**base, env=env, seed=seed), settings.env, 1001, settings.protocol)
    assert report["test_scores"]["baseline"][1] == settings.protocol.score(curve)
    tested = report["test_scores"]
    assert set(report["comparisons"]) == {"baseline", "SB3's DQN"}
    for name, comparison in report["comparisons"].items():
        expected = asdict(compare(tested[report["winner"]], tested[name]))
        assert comparison == expected | {"interval": list(expected["interval"])}
    text = (folder / "validation.md").read_text()
    assert "test 1000 to 1002" in text
    assert {"torch", "processor"} <= set(report["versions"])
    # what is there already is not trained again
    lines = (folder / "validation.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 2 + 3 * 3
    (folder / "validation.jsonl").write_text("\n".join([*lines[:-1], lines[-1][:30]]) + "\n")  # killed as it wrote
    assert main(options) == 0
    assert json.loads((folder / "validation.json").read_text())["test_scores"] == report["test_scores"]
    assert len((folder / "validation.jsonl").read_text().splitlines()) == len(lines) + 1


def test_runs_of_another_seeding_are_not_taken_from_the_file(study: optuna.Study, tmp_path: Path) -> None:
    """The other version of the code is the same by its number, as that of an installed package may be."""
    runs = [Runs(tmp_path / "runs.jsonl", settings_of(study), episodes=1) for _ in range(3)]
    del runs[1].versions["seeding"]  # as before it was recorded
    runs[2].versions["seeding"] = "3"
    contender = Contender("baseline", "SoftAC", settings_of(study).env, {}, {})
    assert len({each._key(contender, 0) for each in runs}) == 3


def test_a_run_that_fails_is_said_and_costs_no_other(
    study: optuna.Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """SB3's algorithm cannot be made, which shows when everything else is done."""
    broken = Contender("SB3's DQN", "DQN", settings_of(study).env, {"policy": "MlpPolicy", "nonsense": 1}, {})
    monkeypatch.setattr(validate, "sb3_contender", lambda _: broken)
    options = ["validate", "--top", "1", "--validation-seeds", "1", "--test-seeds", "1", "--episodes", "1"]
    assert main(options) == 0
    output = capsys.readouterr().out
    assert "SB3's DQN, seed 1000 failed: TypeError" in output
    report = json.loads((tmp_path / "tuning-logs" / NAME / "validation.json").read_text())
    assert set(report["test_scores"]) == {report["winner"], "baseline"}
    assert main(["plot", "--only", "intervals"]) == 0
    assert (tmp_path / "tuning-logs" / NAME / "plots" / "intervals.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("env_id", "name"), [("Pendulum-v1", "SAC"), ("CartPole-v1", "DQN")])
def test_sb3s_algorithm_has_the_zoos_parameters(env_id: str, name: str, tmp_path: Path) -> None:
    study = new_study(tmp_path, env=env_id, hyperparams=HYPERPARAMS)
    contender = validate.sb3_contender(settings_of(study))
    assert contender.algorithm == name
    assert contender.env == EnvironmentSpec(env_id)
    expected = {"Pendulum-v1": 1e-3, "CartPole-v1": 2.3e-3}[env_id]
    assert np.isclose(float(contender.entry["learning_rate"]), expected)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tune", "--env", "CartPole-v7"], "Did you mean CartPole-v1"),
        (["tune", "--env", "nowhere:CartPole-v1"], "cannot import 'nowhere'"),
        (["tune", *OPTIONS, "--trials", "0"], "--trials must be at least 1, got 0"),
        (["tune", *OPTIONS, "--jobs", "-1"], "--jobs must be at least 1, got -1"),
        (["tune", *OPTIONS, "--timeout", "soon"], "timeout must be a duration such as 90s"),
        (["tune", *OPTIONS, "--space", "space.yml"], "has no argument 'tua'; did you mean 'tau'"),
        (["tune", *OPTIONS, "--storage", "postgresql+psycopg2://a@127.0.0.1:1/b"], "Cannot reach postgresql"),
        (["tune", *OPTIONS, "--storage", "mysql+nothing://a@127.0.0.1:1/b"], "mysql"),
        (["tune", *OPTIONS, "--storage", "space.yml/journal.log"], "space.yml"),
        (["tune", *OPTIONS, "-params", "learning_starts=5"], "must be key:value"),
        (["tune", "--study", "../x", "--env", "CartPole-v1"], "must be a non-empty name without '/'"),
        (["tune"], "Choose a study with --study"),
        (["worker", "--study", "nothing"], "There is no journal"),
        (["status"], "Choose a study with --study"),
        (["best", "--study", "nothing"], "There is no journal"),
        (["validate", "--study", "nothing", "--top", "0"], "--top must be between 1 and"),
        (["repair", "--storage", "sqlite:///x.db", "--study", "x"], "repair is for journal files"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else "",
)
def test_bad_input_is_said_in_a_line_before_anything_is_trained(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "space.yml").write_text("tua: {low: 0.001, high: 0.1}\n")
    monkeypatch.setattr(SoftAC, "learn", lambda *_: pytest.fail("it trains"))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"softac-tune {arguments[0]}: ")
    assert message in error
    assert not list(tmp_path.glob("**/journal.log"))


def test_a_study_with_other_settings_is_refused(study: optuna.Study, capsys: Any) -> None:
    assert main(["tune", *OPTIONS, "--pruner", "none", "--seeds", "2", "--trials", "9"]) == 2
    assert "seeds: [0] in the study, [0, 1] asked for" in capsys.readouterr().err


def test_what_needs_a_complete_trial_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    new_study(tmp_path)
    for arguments, message in (
        (["best"], "No trial is complete yet"),
        (["best", "--trial", "7"], "Trial 7 is no complete trial"),
        (["validate"], "complete yet"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert main(["status"]) == 0
    assert "No trial is complete yet" in capsys.readouterr().out


@pytest.mark.slow
def test_sqlite_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    storage = f"sqlite:///{tmp_path}/studies.db"
    done = call(tmp_path, "tune", *OPTIONS, "--trials", "2", "--storage", storage)
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("SOFTAC_TUNE_STORAGE", storage)
    assert main(["status", "--study", NAME]) == 0
    assert "2 complete" in capsys.readouterr().out
    open_storage(storage).engine.dispose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert "--storage" in capsys.readouterr().out
