"""One trial: proposals, training runs, and the results that are kept."""

import gc
from typing import Any

import optuna
import torch as th

from .evaluate import evaluate
from .interrupts import Interrupted, Interrupts
from .processes import identity
from .settings import Settings
from .trials import AS_IS, BASELINE, FAILURE, INTERRUPTED, PROCESS, SURPLUS, book_of, failure_of

PARAMETERS, SCORES, CURVES, SECONDS = "parameters", "scores", "curves", "seconds"


class Surplus(Exception):
    """A trial is not needed: other processes have started all that were wanted, or this one itself."""


class Objective:
    """
    The objective that Optuna calls with each trial.

    :param settings: settings of the study
    :param trials: number of trials that the study shall have
    :param interrupts: reasons to stop
    :param device: device to train on
    """

    def __init__(self, settings: Settings, trials: int, interrupts: Interrupts, device: str = "auto") -> None:
        self.settings, self.trials, self.interrupts, self.device = settings, trials, interrupts, device
        self.space, self.base = settings.parsed_space(), settings.base()

    def __call__(self, trial: optuna.Trial) -> float:
        """
        Run a trial, and record its scores, or why it failed, in its attributes.

        :param trial: new, or one that was enqueued
        :return: its score
        """
        trial.set_user_attr(PROCESS, identity())
        book = book_of(trial.study)
        frozen = next(each for each in book.all if each.number == trial.number)
        enqueued = "fixed_params" in frozen.system_attrs  # someone wants this one, so it is not surplus
        surplus = not enqueued and book.rank(trial.number) >= self.trials
        if surplus or trial.number in {each.number for each in book.void}:
            trial.set_user_attr(SURPLUS, True)
            raise Surplus
        try:
            return self._score(trial)
        except optuna.TrialPruned:
            raise
        except Interrupted as interrupted:
            trial.set_user_attr(INTERRUPTED, str(interrupted))
            raise
        except Exception as error:
            trial.set_user_attr(FAILURE, failure_of(error))
            raise
        finally:
            gc.collect()
            if th.cuda.is_available():
                th.cuda.empty_cache()

    def _score(self, trial: optuna.Trial) -> float:
        """Train and evaluate, report to the pruner, and record scores and curves."""
        self.interrupts.poll()
        params: dict[str, Any] = {}
        if not trial.user_attrs.get(AS_IS):
            params = self.space.suggest(trial)
        settings = self.settings
        by_seed = settings.pruner == "wilcoxon"
        last = len(settings.seeds) - 1 if by_seed else settings.protocol.steps  # pruning this late saves nothing

        def prune_after(value: float, step: int) -> None:
            """Report a value to the pruner, and end the trial if the pruner says so."""
            trial.report(value, step)
            is_baseline = trial.user_attrs.get(BASELINE)  # never pruned: the others are compared with it
            if step < last and trial.should_prune() and not is_baseline:
                raise optuna.TrialPruned

        def report(index: int, step: int, value: float) -> None:
            """Report the learning curve of the first seed, for pruners that judge curves."""
            if not by_seed and index == 0:
                prune_after(value, step)

        if not by_seed:
            found = self._evaluate(params, settings.seeds, report)
            scores, curves, seconds = list(found.scores), list(found.curves), found.seconds
        else:
            scores, curves, seconds = [], [], 0.0
            for index, seed in enumerate(settings.seeds):
                found = self._evaluate(params, [seed], report)
                scores, curves, seconds = [*scores, found.score], [*curves, *found.curves], seconds + found.seconds
                prune_after(found.score, index)
        trial.set_user_attr(SCORES, scores)
        trial.set_user_attr(CURVES, curves)
        trial.set_user_attr(SECONDS, round(seconds, 2))
        return float(sum(scores) / len(scores))

    def _evaluate(self, params: dict[str, Any], seeds: list[int], report: Any) -> Any:
        return evaluate(
            self.space.arguments(params, self.base),
            self.settings.env,
            seeds,
            report,
            protocol=self.settings.protocol,
            poll=self.interrupts.poll,
            device=self.device,
        )
