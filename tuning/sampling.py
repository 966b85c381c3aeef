"""Samplers and pruners by their names."""

import warnings

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from .settings import Settings

STARTUP_TRIALS = 10
_PRUNER_STARTUP_TRIALS = 5
_WARMUP = 0.3  # share of a run before which nothing is pruned
_SIGNIFICANCE = 0.1


def make_sampler(settings: Settings, index: int, worker: int) -> BaseSampler:
    """
    Make a sampler for the next trial. It is seeded from the number of trials before it, so that an interrupted study
    continues with the proposals that it would have made.

    :param settings: settings of the study
    :param index: number of trials that were started before
    :param worker: number of the worker, without which several workers would make the same proposals
    :return: the sampler
    """
    seed = int(np.random.SeedSequence([settings.sampler_seed, index, worker]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # about group
        if settings.sampler == "random":
            return RandomSampler(seed)
        if settings.sampler == "gp":
            return GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS, deterministic_objective=False)
        return TPESampler(
            n_startup_trials=STARTUP_TRIALS,
            multivariate=True,
            group=settings.parsed_space().conditional,
            constant_liar=True,
            seed=seed,
        )


def make_pruner(settings: Settings) -> BasePruner:
    """
    Make the pruner that the settings name.

    :param settings: settings of the study
    :return: the pruner
    """
    steps, evaluations = settings.protocol.steps, settings.protocol.evaluations
    if settings.pruner == "median":
        return MedianPruner(_PRUNER_STARTUP_TRIALS, int(_WARMUP * steps), interval_steps=1)
    if settings.pruner == "hyperband":
        return HyperbandPruner(min_resource=max(1, steps // evaluations), max_resource=steps)
    if settings.pruner == "wilcoxon":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return WilcoxonPruner(p_threshold=_SIGNIFICANCE)
    return NopPruner()
