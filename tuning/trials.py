"""Which trials of a study count, and as what, and which are repeated.

A trial that was interrupted, or whose process was killed, fails, and its parameters are enqueued again as a new trial
that names it in ``retry_of``. From then on the failed one does not count. All this is recorded in the trials, so every
process that opens the study sees the same, and if one is killed halfway through this, the next one finishes it.
"""

import warnings
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from .processes import is_gone

MAX_RETRIES = 2
"""How often a trial whose process was killed is repeated. Interruptions on request do not count."""
UNNAMED_SECONDS = 600
"""After this time, a running trial counts as lost if no process has said that it runs it: no sampler takes as long."""

# user attributes of trials
RETRY_OF, RETRIES = "retry_of", "retries"
BASELINE, AS_IS = "baseline", "as_is"
INTERRUPTED, FAILURE, SURPLUS, PROCESS = "interrupted", "failure", "surplus", "process"
_INHERITED = (BASELINE, AS_IS)


class Book:
    """
    The trials of a study, grouped by what they count as.

    :param trials: all trials of the study
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
        """Trials that do not count: they are repeated, are surplus, or were enqueued by two processes at once."""
        void = {trial.number for trial in self.void}
        self.counted = [trial for trial in trials if trial.number not in void]
        self.complete = [trial for trial in self.counted if trial.state == TrialState.COMPLETE]
        self.pruned = [trial for trial in self.counted if trial.state == TrialState.PRUNED]
        self.running = [trial for trial in self.counted if trial.state == TrialState.RUNNING]
        self.waiting = [trial for trial in self.counted if trial.state == TrialState.WAITING]
        self.lost = [trial for trial in self.counted if _is_lost(trial)]
        """Trials that failed through no fault of their parameters, and are not enqueued again yet."""
        lost = {trial.number for trial in self.lost}
        self.failed = [t for t in self.counted if t.state == TrialState.FAIL and t.number not in lost]

    @property
    def finished(self) -> list[FrozenTrial]:
        """The trials that are complete, pruned or failed, by number."""
        return sorted(self.complete + self.pruned + self.failed, key=lambda trial: trial.number)

    def rank(self, number: int) -> int:
        """:return: number of counted trials before this one"""
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

        :param but: numbers of trials to leave out
        :return: number of failures in a row among the trials that ended last
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
    Enqueue a trial again that failed through no fault of its parameters.

    :param study: study of the trial
    :param number: number of the trial
    """
    trial = next(each for each in study.get_trials(deepcopy=False) if each.number == number)
    if not _is_lost(trial):
        return
    retries = trial.user_attrs.get(RETRIES, 0) + (INTERRUPTED not in trial.user_attrs)
    inherited = {name: trial.user_attrs[name] for name in _INHERITED if name in trial.user_attrs}
    # a trial that was itself enqueued may have been killed before it took over its parameters
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    study.enqueue_trial(params, user_attrs={RETRY_OF: number, RETRIES: retries, **inherited})


def reap(study: optuna.Study) -> list[int]:
    """
    Fail and requeue the running trials whose process on this host has ended, and, in databases, those whose heartbeat
    has stopped.

    :param study: study of the trials
    :return: numbers of the former
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)  # does nothing for journals
    found = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        process = trial.user_attrs.get(PROCESS)
        gone = is_gone(process) if process is not None else _is_old(trial)
        if gone and fail(study, trial.number):
            requeue(study, trial.number)
            found.append(trial.number)
    return found


def _is_old(trial: FrozenTrial) -> bool:
    """:return: whether a trial was started long ago, and its process has not identified itself, as it does at once"""
    started = trial.datetime_start
    return started is not None and (datetime.now() - started).total_seconds() > UNNAMED_SECONDS


def requeue_lost(study: optuna.Study) -> list[int]:
    """
    Requeue the failed trials that a killed process did not requeue. Call this only while no other process uses the
    study, or both requeue the same trials.

    :param study: study of the trials
    :return: numbers of the trials
    """
    lost = book_of(study).lost
    for trial in lost:
        requeue(study, trial.number)
    return [trial.number for trial in lost]


def fail(study: optuna.Study, number: int) -> bool:
    """
    Make a running trial fail.

    :param study: study of the trial
    :param number: number of a running trial
    :return: whether this call made it fail; of several processes only one gets True
    """
    try:
        study.tell(number, state=TrialState.FAIL)
    except (ValueError, RuntimeError):  # it has ended meanwhile
        return False
    return True


def failure_of(error: BaseException) -> dict[str, Any]:
    """:return: what is recorded about an exception"""
    import traceback

    text = "".join(traceback.format_exception(error))
    return {"type": type(error).__name__, "message": str(error), "traceback": text}


def why_failed(trial: FrozenTrial) -> str:
    """:return: the reason for a failure, in one line"""
    failure = trial.user_attrs.get(FAILURE)
    if failure is None:
        return f"its process was killed, and so were those of its {MAX_RETRIES} retries"
    return f"{failure['type']}: {failure['message']}"


def _is_lost(trial: FrozenTrial) -> bool:
    """:return: whether a trial failed through no fault of its parameters, and may be repeated"""
    attrs = trial.user_attrs
    if trial.state != TrialState.FAIL or FAILURE in attrs or SURPLUS in attrs:
        return False
    return INTERRUPTED in attrs or attrs.get(RETRIES, 0) < MAX_RETRIES


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value
