"""What each trial of a study counts for, and those that are done again.

A trial that was interrupted, or whose process was killed, fails, and its parameters are enqueued once more as a trial
that names it in ``retry_of``. From then on the first does not count. Everything is kept in the trials themselves, so
whoever opens the study sees the same, and what was killed half-way through this is finished by the next.
"""

import warnings
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from .processes import is_gone

MAX_RETRIES = 2
"""How often a trial is done again whose process was killed. Interruptions on request do not count."""
UNNAMED_SECONDS = 600
"""After this time a running trial is lost if no process has said that it has it: no sampler takes as long."""

# user attributes of trials
RETRY_OF, RETRIES = "retry_of", "retries"
BASELINE, AS_IS = "baseline", "as_is"
INTERRUPTED, FAILURE, SURPLUS, PROCESS = "interrupted", "failure", "surplus", "process"
_INHERITED = (BASELINE, AS_IS)


class Book:
    """
    The trials of a study, by what they count for.

    :param trials: all of them
    """

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        retries: dict[int, list[int]] = {}
        for trial in trials:
            if RETRY_OF in trial.user_attrs:
                retries.setdefault(trial.user_attrs[RETRY_OF], []).append(trial.number)
        self.all = list(trials)
        originals = [t.number for t in trials if t.user_attrs.get(BASELINE) and RETRY_OF not in t.user_attrs]
        twice = {number for numbers in (originals, *retries.values()) for number in numbers[1:]}
        self.void = [t for t in trials if t.number in retries or t.number in twice or SURPLUS in t.user_attrs]
        """Trials that do not count: they are done again, surplus, or were enqueued by two processes at once."""
        void = {trial.number for trial in self.void}
        self.counted = [trial for trial in trials if trial.number not in void]
        self.complete = [trial for trial in self.counted if trial.state == TrialState.COMPLETE]
        self.pruned = [trial for trial in self.counted if trial.state == TrialState.PRUNED]
        self.running = [trial for trial in self.counted if trial.state == TrialState.RUNNING]
        self.waiting = [trial for trial in self.counted if trial.state == TrialState.WAITING]
        self.lost = [trial for trial in self.counted if _is_lost(trial)]
        """Trials that failed without fault of their parameters, and are not enqueued again yet."""
        lost = {trial.number for trial in self.lost}
        self.failed = [t for t in self.counted if t.state == TrialState.FAIL and t.number not in lost]

    @property
    def finished(self) -> list[FrozenTrial]:
        """The trials that are complete, pruned or failed, by number."""
        return sorted(self.complete + self.pruned + self.failed, key=lambda trial: trial.number)

    def rank(self, number: int) -> int:
        """:return: how many counted trials there are before this one"""
        return sum(trial.number < number for trial in self.counted)

    @property
    def baseline(self) -> FrozenTrial | None:
        """The trial of the base entry, if it is complete."""
        return next((trial for trial in self.complete if trial.user_attrs.get(BASELINE)), None)

    def best(self, count: int = 1) -> list[FrozenTrial]:
        """:return: complete trials with the highest scores, the best first"""
        return sorted(self.complete, key=lambda trial: (-_value(trial), trial.number))[:count]

    def failures_in_a_row(self, but: Collection[int] = ()) -> int:
        """
        Count the failures since the last trial that did not fail.

        :param but: numbers of trials that are left out
        :return: how many of the trials that ended last have failed
        """
        finished = [trial for trial in self.finished if trial.number not in but]
        ended = sorted(finished, key=lambda trial: (trial.datetime_complete is None, trial.datetime_complete))
        count = 0
        while count < len(ended) and ended[-1 - count].state == TrialState.FAIL:
            count += 1
        return count


def book_of(study: optuna.Study) -> Book:
    """:return: the study's trials as they are now"""
    return Book(study.get_trials(deepcopy=False))


def requeue(study: optuna.Study, number: int) -> None:
    """
    Enqueue a trial that failed without fault of its parameters once more.

    :param study: whose
    :param number: of the trial
    """
    trial = next(each for each in study.get_trials(deepcopy=False) if each.number == number)
    if not _is_lost(trial):
        return
    retries = trial.user_attrs.get(RETRIES, 0) + (INTERRUPTED not in trial.user_attrs)
    inherited = {name: trial.user_attrs[name] for name in _INHERITED if name in trial.user_attrs}
    # a trial that was enqueued itself may have been killed before it took its parameters up
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    study.enqueue_trial(params, user_attrs={RETRY_OF: number, RETRIES: retries, **inherited})


def reap(study: optuna.Study) -> list[int]:
    """
    Fail and requeue the running trials whose process has ended on this host, and, in databases, those that have given
    no sign of life.

    :param study: whose
    :return: numbers of the former
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)  # which does nothing for journals
    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        process = trial.user_attrs.get(PROCESS)
        gone = is_gone(process) if process is not None else _is_old(trial)
        if gone and fail(study, trial.number):
            requeue(study, trial.number)
            found.append(trial.number)
    return found


def _is_old(trial: FrozenTrial) -> bool:
    """:return: whether a trial has long been started by a process that has not said who it is, as it does at once"""
    started = trial.datetime_start
    return started is not None and (datetime.now() - started).total_seconds() > UNNAMED_SECONDS


def requeue_lost(study: optuna.Study) -> list[int]:
    """
    Requeue what a killed process left failed. Call it only while no other process uses the study, or both requeue the
    same trials.

    :param study: whose
    :return: numbers of the trials
    """
    lost = book_of(study).lost
    for trial in lost:
        requeue(study, trial.number)
    return [trial.number for trial in lost]


def fail(study: optuna.Study, number: int) -> bool:
    """
    Make a running trial fail.

    :param study: whose
    :param number: of a running trial
    :return: whether it was this call that made it fail; of several processes only one gets True
    """
    try:
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, RuntimeError):  # it has ended since
        return False
    return True


def failure_of(error: BaseException) -> dict[str, Any]:
    """:return: what is kept of an exception"""
    import traceback

    text = "".join(traceback.format_exception(error))
    return {"type": type(error).__name__, "message": str(error), "traceback": text}


def why_failed(trial: FrozenTrial) -> str:
    """:return: the reason for a failure, in one line"""
    failure = trial.user_attrs.get(FAILURE)
    if failure is None:
        return f"its process was killed, and that of its {MAX_RETRIES} retries too"
    return f"{failure['type']}: {failure['message']}"


def _is_lost(trial: FrozenTrial) -> bool:
    """:return: whether a trial failed without fault of its parameters, and may be done again"""
    attrs = trial.user_attrs
    if trial.state != TrialState.FAIL or FAILURE in attrs or SURPLUS in attrs:
        return False
    return INTERRUPTED in attrs or attrs.get(RETRIES, 0) < MAX_RETRIES


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value
