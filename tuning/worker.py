"""A process that runs trials of a study until there is nothing left to do."""

from dataclasses import dataclass

import optuna

from .interrupts import Interrupts
from .objective import Objective
from .sampling import make_pruner, make_sampler
from .settings import settings_of
from .trials import book_of, reap, requeue, why_failed

_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Limits:
    """
    When a worker has done enough, or should give up.

    :param trials: number of trials that the study shall have, whoever runs them
    :param failures: stop after this many failed trials in a row
    """

    trials: int
    failures: int = 5


class TooManyFailures(Exception):
    """One trial after the other fails, so something is wrong that other parameters would not change."""


def load_study(storage: optuna.storages.BaseStorage, name: str) -> optuna.Study:
    """
    Load a study, with the pruner that its settings name.

    :param storage: storage of the study
    :param name: name of the study
    :return: the study
    :raises ValueError: if there is no such study
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = ", ".join(sorted(optuna.get_all_study_names(storage))) or "none"
        raise ValueError(f"There is no study {name!r} in this storage. Existing studies: {names}") from None
    study.pruner = make_pruner(settings_of(study))
    return study


def work(
    study: optuna.Study,
    limits: Limits,
    interrupts: Interrupts,
    index: int = 0,
    device: str = "auto",
    once: bool = False,
) -> None:
    """
    Run trials until the study has as many as are wanted, or there is a reason to stop. While others run the last
    trials, wait, since these may be lost and have to be repeated.

    :param study: study with settings
    :param limits: when to stop
    :param interrupts: reasons to stop
    :param index: number of this worker, which makes its proposals differ from the others'
    :param device: device to train on
    :param once: whether to end instead of waiting for others
    :raises TooManyFailures: after too many failed trials in a row
    """
    settings = settings_of(study)
    objective = Objective(settings, limits.trials, interrupts, device)
    lost: set[int] = set()
    before = {trial.number for trial in book_of(study).finished}  # their failures may have been fixed since
    while interrupts.reason is None:
        reap(study)
        book = book_of(study)
        in_a_row = book.failures_in_a_row(but=before)
        if in_a_row >= limits.failures:
            raise TooManyFailures(
                f"{in_a_row} trials have failed in a row, the last one: {why_failed(book.failed[-1])}"
            )
        if len(book.finished) >= limits.trials:
            return
        if book.waiting or len(book.counted) < limits.trials:
            started = len(book.counted) - len(book.waiting) - len(book.lost)
            study.sampler = make_sampler(settings, started, index)
            study.optimize(objective, n_trials=1, catch=(Exception,), callbacks=[_requeue_interrupted])
        elif once:
            return
        else:
            found = {trial.number for trial in book.lost}
            for number in lost & found:  # the process that made them fail was killed before it did this
                requeue(study, number)
            lost = found
            interrupts.wait(_POLL_SECONDS)


def _requeue_interrupted(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Enqueue the trial again if it was interrupted. Optuna calls this after each trial."""
    requeue(study, trial.number)
