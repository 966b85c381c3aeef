"""``train -optimize`` with our search spaces, and training with a trial of a study."""

from pathlib import Path
from typing import Any

import optuna
import pytest

pytest.importorskip("rl_zoo3")
import yaml

from sac_ext import SoftAC, zoo
from sac_ext.zoo import registration
from tests.zoo_help import ENV, FAST

pytestmark = pytest.mark.filterwarnings("ignore")  # of the zoo's own code


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
