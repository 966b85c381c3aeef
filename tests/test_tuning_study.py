"""Studies, in one process: what is run, kept, proposed, pruned and refused."""

import gc
import json
import math
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from sac_ext.tuning import sampling, trials
from sac_ext.tuning.evaluate import evaluate
from sac_ext.tuning.interrupts import Interrupted, Interrupts
from sac_ext.tuning.objective import Objective, Surplus
from sac_ext.tuning.processes import identity, is_gone
from sac_ext.tuning.sampling import make_sampler
from sac_ext.tuning.settings import settings_of
from sac_ext.tuning.storage import open_storage
from sac_ext.tuning.study import create_or_resume, smoke_test
from sac_ext.tuning.trials import Book, book_of, reap, requeue, requeue_lost
from sac_ext.tuning.worker import TooManyFailures, load_study
from tests.tuning_help import NAME, assert_nothing_lost, journal, new_study, opened, run_trials, settings


class After(Interrupts):
    """A reason to stop that comes at the n-th time it is looked for during training."""

    def __init__(self, polls: int) -> None:
        super().__init__()
        self.polls = polls

    def poll(self) -> None:
        self.polls -= 1
        super().poll()

    @property
    def reason(self) -> str | None:
        return "SIGTERM" if self.polls <= 0 else None


def params_of(book: Book) -> list[dict[str, Any]]:
    return [trial.params for trial in book.finished]


# ---------------------------------------------------------------- what is run and kept


def test_the_first_trial_is_the_base_entry(tmp_path: Path) -> None:
    study = new_study(tmp_path, hyperparams={"learning_rate": 2e-3, "tau": 0.02, "learning_starts": 10})
    book = run_trials(study, 1)
    (trial,) = book.complete
    assert book.baseline == trial
    expected = {"actor_learning_rate": 2e-3, "critic_learning_rate": 2e-3, "tau": 0.02, "alpha": "learned"}
    assert expected.items() <= trial.params.items()
    base = settings_of(study)
    found = evaluate(base.base(), base.env, base.seeds, protocol=base.protocol)
    assert trial.value == found.score


def test_a_base_entry_outside_of_the_space_is_run_as_it_is(tmp_path: Path) -> None:
    study = new_study(tmp_path, hyperparams={"tau": 0.9, "learning_starts": 10})
    (trial,) = run_trials(study, 1).complete
    assert trial.params == {}
    base = settings_of(study)
    assert trial.value == evaluate(base.base(), base.env, base.seeds, protocol=base.protocol).score


@pytest.mark.parametrize("metric", ["final", "auc", "best"])
def test_scores_and_curves_of_every_seed_are_kept(tmp_path: Path, metric: str) -> None:
    study = new_study(tmp_path, seeds=3, metric=metric, evaluations=4)
    for trial in run_trials(study, 2).complete:
        curves = trial.user_attrs["curves"]
        assert [[step for step, _ in curve] for curve in curves] == [[5, 10, 15, 20]] * 3
        protocol = settings_of(study).protocol
        assert trial.user_attrs["scores"] == [protocol.score(curve) for curve in curves]
        assert trial.value == pytest.approx(np.mean(trial.user_attrs["scores"]))


def test_the_study_has_as_many_trials_as_are_wanted_and_no_more(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    assert len(run_trials(study, 3).finished) == 3
    assert len(run_trials(study, 3).finished) == 3
    assert_nothing_lost(run_trials(opened(tmp_path), 5), 5)


def test_trials_that_another_process_did_not_leave_are_surplus(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    run_trials(study, 2)
    study.enqueue_trial({})
    book = run_trials(study, 2)
    assert [trial.state for trial in book.waiting] == [TrialState.WAITING]  # the study has what is wanted
    study.ask()  # another process starts the third
    late = study.ask()
    with pytest.raises(Surplus):
        Objective(settings_of(study), 3, Interrupts())(late)
    study.tell(late, state=TrialState.FAIL)
    book = book_of(study)
    assert late.number in {trial.number for trial in book.void}
    assert len(book.counted) == 3


# ---------------------------------------------------------------- proposals


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_an_interrupted_study_proposes_what_an_uninterrupted_one_does(
    tmp_path: Path, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "STARTUP_TRIALS", 2)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # which takes as long as one of these trials
    trials = 4
    whole = run_trials(new_study(tmp_path / "whole", sampler=sampler), trials)
    for polls in (7, 45, 100, 10**9):
        folder = tmp_path / "parts"
        study = opened(folder) if Path(journal(folder)).exists() else new_study(folder, sampler=sampler)
        run_trials(study, trials, After(polls))
    parts = book_of(opened(tmp_path / "parts"))
    assert len(parts.void) == 3
    assert parts.rank(parts.void[-1].number) >= sampling.STARTUP_TRIALS  # proposed from what was found before
    assert_nothing_lost(parts, trials)
    assert params_of(parts) == params_of(whole)
    assert [trial.value for trial in parts.finished] == [trial.value for trial in whole.finished]


def test_another_seed_and_another_worker_propose_something_else(tmp_path: Path) -> None:
    proposals = []
    for seed, worker in ((0, 0), (1, 0), (0, 1)):
        asked = settings(sampler_seed=seed)
        study = optuna.create_study(sampler=make_sampler(asked, 0, worker))
        proposals.append(asked.parsed_space().suggest(study.ask()))
    assert all(a != b for i, a in enumerate(proposals) for b in proposals[:i])


# ---------------------------------------------------------------- pruning


def reported(study: optuna.Study) -> None:
    """Five complete trials that are better at every step than what is to come."""
    for _ in range(5):
        study.add_trial(create_trial(value=1e3, intermediate_values={5: 1e3, 10: 1e3, 15: 1e3, 20: 1e3}))


def test_median_prunes_by_the_first_seeds_curve_but_never_the_baseline(tmp_path: Path) -> None:
    study = new_study(tmp_path, seeds=2, evaluations=4, pruner="median")
    reported(study)
    book = run_trials(study, 7)
    assert book.baseline is not None
    (trial,) = book.pruned
    assert list(trial.intermediate_values) == [5, 10]  # after a third of the steps, and not of the second seed


def test_wilcoxon_prunes_by_the_scores_of_seeds(tmp_path: Path) -> None:
    study = new_study(tmp_path, seeds=6, pruner="wilcoxon")
    study.add_trial(create_trial(value=1e3, intermediate_values={index: 1e3 + index for index in range(6)}))
    book = run_trials(study, 3)
    assert book.baseline is not None
    (trial,) = book.pruned
    assert list(trial.intermediate_values) == list(range(len(trial.intermediate_values)))
    assert 4 <= len(trial.intermediate_values) < 6


@pytest.mark.parametrize("pruner", ["hyperband", "none"])
def test_hyperband_and_no_pruner_finish_every_trial(tmp_path: Path, pruner: str) -> None:
    book = run_trials(new_study(tmp_path, pruner=pruner, evaluations=4), 4)
    assert len(book.finished) == 4
    if pruner == "none":
        assert not book.pruned


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("wrong", "kind", "text"),
    [
        ("exception", "RuntimeError", "the simulator has crashed"),
        ("memory", "MemoryError", "out of memory"),
        ("nan", "ValueError", "reward"),
    ],
)
def test_what_goes_wrong_fails_that_trial_and_is_kept(tmp_path: Path, wrong: str, kind: str, text: str) -> None:
    study = new_study(tmp_path, env_kwargs={"wrong": wrong})
    book = run_trials(study, 2)
    assert len(book.failed) == 2
    for trial in book.failed:
        failure = trial.user_attrs["failure"]
        assert failure["type"] == kind
        assert text in failure["message"]
        assert "Traceback" in failure["traceback"]
    assert not book.best()


def test_failures_in_a_row_stop_the_study(tmp_path: Path) -> None:
    study = new_study(tmp_path, env_kwargs={"wrong": "exception"})
    with pytest.raises(TooManyFailures, match=r"3 trials have failed in a row.*the simulator has crashed"):
        run_trials(study, 10, failures=3)
    assert len(book_of(study).failed) == 3


def test_interruptions_are_done_again_however_many(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for _ in range(5):
        run_trials(study, 2, After(3))
    book = run_trials(study, 2)
    assert_nothing_lost(book, 2)
    assert len(book.void) == 5
    assert book.baseline is not None
    assert all(trial.user_attrs["interrupted"] == "SIGTERM" for trial in book.void)


def gone() -> dict[str, Any]:
    """A process of this host that runs no more."""
    return identity() | {"started": 1.0}


def test_lost_trials_are_done_again_twice_and_then_count_as_failed(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for round_ in range(3):
        study.sampler = make_sampler(settings_of(study), 0, 0)
        trial = study.ask()
        params = settings_of(study).parsed_space().suggest(trial)
        trial.set_user_attr("process", gone())
        assert reap(opened(tmp_path)) == [trial.number]
        book = book_of(opened(tmp_path))
        assert [t.system_attrs["fixed_params"] for t in book.waiting] == ([params] if round_ < 2 else [])
    assert [trial.number for trial in book.failed] == [2]
    assert_nothing_lost(run_trials(study, 2), 2)


def test_a_trial_of_another_host_or_a_living_process_is_left_alone(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for process in (identity(), gone() | {"host": "elsewhere"}, identity(os.getppid())):
        study.ask().set_user_attr("process", process)
    assert reap(study) == []
    assert len(book_of(study).running) == 3
    assert not is_gone(None)


def test_a_process_that_was_killed_while_it_requeued_is_made_up_for_once(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    trial = study.ask()
    trial.set_user_attr("process", gone())
    study.tell(trial, state=TrialState.FAIL)  # and killed here
    assert len(book_of(study).lost) == 1
    assert requeue_lost(study) == [0]
    assert requeue_lost(study) == []
    requeue(study, 0)  # by another process, at the same time
    book = run_trials(study, 2)
    assert_nothing_lost(book, 2)


def test_a_lost_baseline_stays_the_baseline(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    study.ask().set_user_attr("process", gone())
    book = run_trials(study, 1)
    assert book.baseline is not None
    assert book.baseline.number == 1


def test_a_trial_whose_process_never_said_its_name_is_lost_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(tmp_path)
    study.ask()
    assert reap(study) == []
    monkeypatch.setattr(trials, "UNNAMED_SECONDS", 0)
    assert reap(study) == [0]
    assert len(book_of(study).waiting) == 1


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_in_a_database_a_trial_without_signs_of_life_is_done_again(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/studies.db", create=True, heartbeat=1)
    create_or_resume(storage, NAME, settings())
    study = load_study(storage, NAME)
    trial = study.ask()
    trial.set_user_attr("process", gone() | {"host": "elsewhere"})
    storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
    reap(study)
    assert len(book_of(study).running) == 1
    time.sleep(4)
    reap(study)
    book = book_of(study)
    assert not book.running
    assert [each.user_attrs["retry_of"] for each in book.waiting] == [trial.number]
    storage.engine.dispose()  # type: ignore[attr-defined]


def test_what_is_enqueued_is_done_even_if_fewer_trials_are_wanted_by_then(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    run_trials(study, 2, After(3))  # of the baseline
    objective = Objective(settings_of(study), 1, Interrupts())
    waiting = study.ask()
    assert waiting.user_attrs["baseline"]
    study.tell(waiting, objective(waiting))
    assert book_of(study).baseline is not None


def test_a_baseline_that_failed_is_done_again_by_the_next_tune(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    trial = study.ask()
    trial.set_user_attr("failure", {"type": "OSError", "message": "the simulator was not running"})
    study.tell(trial, state=TrialState.FAIL)
    create_or_resume(open_storage(journal(tmp_path)), NAME, settings())
    book = run_trials(study, 1)
    assert book.baseline is not None
    assert [each.number for each in book.void] == [0]


def test_failures_of_before_do_not_stop_the_next_start(tmp_path: Path) -> None:
    study = new_study(tmp_path)
    for _ in range(3):
        trial = study.ask()
        trial.set_user_attr("failure", {"type": "OSError", "message": "the simulator was not running"})
        study.tell(trial, state=TrialState.FAIL)
    assert book_of(study).failures_in_a_row() == 3
    book = run_trials(study, 5, failures=3)
    assert len(book.complete) == 2


@given(st.data())
def test_a_book_counts_every_trial_once(data: st.DataObject) -> None:
    states = st.sampled_from(list(TrialState))
    trials = []
    for number in range(data.draw(st.integers(0, 12))):
        attrs: dict[str, Any] = {}
        if number and data.draw(st.booleans()):
            attrs["retry_of"] = data.draw(st.integers(0, number - 1))
            attrs["retries"] = data.draw(st.integers(0, 3))
        for name in ("failure", "interrupted", "surplus", "baseline"):
            if data.draw(st.integers(0, 3)) == 0:
                attrs[name] = {"type": "E", "message": "m"} if name == "failure" else True
        state = data.draw(states)
        trial = create_trial(state=state, value=1.0 if state == TrialState.COMPLETE else None, user_attrs=attrs)
        trial.number = number
        trials.append(trial)
    book = Book(trials)
    kinds = [book.void, book.complete, book.pruned, book.failed, book.running, book.waiting, book.lost]
    assert sorted(trial.number for kind in kinds for trial in kind) == list(range(len(trials)))
    assert book.failures_in_a_row() <= len(book.failed)
    retried = {trial.user_attrs.get("retry_of") for trial in trials}
    assert not {trial.number for trial in book.counted} & retried


# ---------------------------------------------------------------- what is refused


def test_a_study_with_other_settings_is_refused_with_the_differences(tmp_path: Path) -> None:
    new_study(tmp_path, seeds=2)
    storage = open_storage(journal(tmp_path))
    create_or_resume(storage, NAME, settings(seeds=2))
    with pytest.raises(
        ValueError, match=r"(?s)exists with other settings.*seeds: \[0, 1\] in the study, \[0, 1, 2\] asked"
    ):
        create_or_resume(storage, NAME, settings(seeds=3))
    with pytest.raises(ValueError, match=r"protocol\.steps: 20 in the study, 30 asked for"):
        create_or_resume(storage, NAME, settings(seeds=2, steps=30))
    with pytest.raises(ValueError, match=r"entry\.learning_starts: 10 in the study, 7 asked for"):
        create_or_resume(storage, NAME, settings(seeds=2, hyperparams=settings().entry | {"learning_starts": 7}))
    path = tmp_path / "other.yml"
    path.write_text("gamma: {low: 0.9, high: 0.99}\n")
    with pytest.raises(ValueError, match=r"space\.gamma"):
        create_or_resume(storage, NAME, settings(seeds=2, space=str(path)))


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    storage = open_storage(journal(tmp_path), create=True)
    optuna.create_study(storage=storage, study_name=NAME).enqueue_trial({"x": 1})
    with pytest.raises(ValueError, match="has no settings of softac-tune"):
        create_or_resume(storage, NAME, settings())
    with pytest.raises(ValueError, match=r"no study 'other' in this storage\. Existing studies: toy"):
        load_study(storage, "other")


def test_a_study_that_was_killed_while_it_was_made_is_made(tmp_path: Path) -> None:
    storage = open_storage(journal(tmp_path), create=True)
    optuna.create_study(storage=storage, study_name=NAME, direction="maximize")
    study = create_or_resume(storage, NAME, settings())
    assert len(book_of(study).waiting) == 1
    create_or_resume(storage, NAME, settings())
    assert len(book_of(study).waiting) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 0}, "seeds must be between 1 and 100, got 0"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"evaluations": 21}, r"evaluations must be at most steps \(20\), got 21"),
        ({"pruner": "wilcoxon", "seeds": 2}, "needs at least 5"),
        ({"env": "CartPole-v9"}, "Did you mean.*CartPole-v1"),
        ({"env": "no_such_module:Env-v0"}, "cannot import 'no_such_module'"),
        ({"env": None}, "needs an environment"),
        ({"tune": ["gama"]}, "no optional parameter 'gama'; did you mean 'gamma'"),
        ({"space": "nowhere.yml"}, "no space file 'nowhere.yml'"),
        ({"conf_file": "nowhere.yml"}, "no configuration file 'nowhere.yml'"),
        ({"env_kwargs": {"wrong": {1: "a"}}}, "1 must be a string to be recorded"),
        ({"env_kwargs": {"wrong": b"a"}}, "b'a' of type bytes cannot be recorded"),
    ],
)
def test_what_cannot_be_a_study_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyperparams": {"lerning_starts": 10}}, "cannot be made with the base entry.*lerning_starts"),
        ({"hyperparams": {"tau": 7}}, "cannot be made with the base entry.*tau"),
        ({"env_kwargs": {"colour": "red"}}, "Cannot make.*colour"),
        ({"hyperparams": {"env_wrapper": "no.such.Wrapper"}}, "Cannot find the env_wrapper"),
    ],
)
def test_what_cannot_be_trained_fails_before_it_is(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        smoke_test(settings(**changes))


def test_a_space_that_no_model_can_be_made_with_fails_before_training(tmp_path: Path) -> None:
    path = tmp_path / "space.yml"
    path.write_text("policy_kwargs.width: {low: 1, high: 3}\n")
    with pytest.raises(ValueError, match="cannot be made with the parameters"):
        smoke_test(settings(space=str(path)))


def test_settings_survive_json(tmp_path: Path) -> None:
    changes = {"tune": ["gamma", "n_steps"], "hyperparams": {"train_freq": (2, "step")}, "env_kwargs": {"seconds": 0.0}}
    asked = settings(**changes)
    study = new_study(tmp_path, **changes)
    assert settings_of(study).differences(asked) == []
    assert replace(settings_of(study), entry=asked.entry) == asked
    assert settings_of(study).base() == asked.base()
    versions = study.user_attrs["versions"]
    assert {"python", "torch", "sac-ext", "optuna", "processor"} <= set(versions)
    json.dumps(study.user_attrs)


# ---------------------------------------------------------------- reasons to stop


def test_a_deadline_and_the_end_of_the_parent_are_reasons_to_stop() -> None:
    assert Interrupts().reason is None
    assert Interrupts(deadline=math.inf).reason is None
    assert Interrupts(deadline=1.0).reason == "deadline"
    assert Interrupts(parent=os.getppid()).reason is None
    assert "gone" in str(Interrupts(parent=10**9).reason)
    with pytest.raises(Interrupted, match="deadline"):
        Interrupts(deadline=1.0).poll()


def test_the_deadline_ends_training_and_the_trial_is_done_again(tmp_path: Path) -> None:
    study = new_study(tmp_path, env_kwargs={"seconds": 0.01})
    book = run_trials(study, 1, Interrupts(deadline=time.time() + 0.1))
    (trial,) = book.void
    assert trial.user_attrs["interrupted"] == "deadline"
    assert len(book.waiting) == 1
    assert_nothing_lost(run_trials(study, 1), 1)
