"""Comparing few runs (Agarwal et al. 2021, arXiv:2108.13264): interquartile means, intervals, and a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# scipy.stats is imported where it is used: its import takes longer than that of the rest of this package, and every
# worker would have to wait for it

_RESAMPLES = 10_000
_SEED = 0
_ROUNDING = 1e-12


def interquartile_mean(values: Sequence[float]) -> float:
    """:return: mean of the middle half of the values"""
    from scipy.stats import trim_mean

    return float(trim_mean(np.asarray(values, float), 0.25))


def interval(values: Sequence[float]) -> tuple[float, float]:
    """
    Estimate the uncertainty of an interquartile mean over few seeds.

    :param values: one for each seed
    :return: 95 % bootstrap percentile interval of the interquartile mean; for a single value, the value itself
    """
    return _interval(values)


@dataclass(frozen=True)
class Comparison:
    """The difference between the runs of two contenders."""

    difference: float
    """Interquartile mean of the first minus that of the second."""
    interval: tuple[float, float]
    """95 % bootstrap percentile interval of the difference, both resampled over their seeds."""
    probability_of_improvement: float
    """Probability that a run of the first is better than one of the second; ties count one half."""
    verdict: str
    """``"better"`` or ``"worse"`` if the interval excludes 0, else ``"cannot tell"``."""


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """
    Compare the runs of two contenders.

    :param ours: a score for each seed
    :param theirs: the same for the other contender
    :return: the comparison, with ours as the first
    """
    low, high = _interval(ours, theirs)
    a, b = np.asarray(ours, float)[:, None], np.asarray(theirs, float)[None, :]
    probability = float(np.mean(a > b) + np.mean(a == b) / 2)
    rounding = _ROUNDING * max(1.0, float(np.abs(a).max()), float(np.abs(b).max()))
    verdict = "cannot tell"
    if low > rounding:
        verdict = "better"
    elif high < -rounding:
        verdict = "worse"
    return Comparison(interquartile_mean(ours) - interquartile_mean(theirs), (low, high), probability, verdict)


def _interval(first: Sequence[float], second: Sequence[float] | None = None) -> tuple[float, float]:
    """:return: bootstrap interval of an interquartile mean, or of the difference of two"""
    from scipy.stats import bootstrap, trim_mean

    samples = [np.asarray(each, float) for each in (first, second) if each is not None]

    def statistic(*parts: np.ndarray, axis: int = -1) -> np.ndarray:
        means = [np.asarray(trim_mean(part, 0.25, axis=axis)) for part in parts]
        return means[0] - means[1] if len(means) == 2 else means[0]

    if min(len(sample) for sample in samples) < 2:  # one value does not show how seeds differ
        if second is not None:
            return -np.inf, np.inf
        return float(samples[0][0]), float(samples[0][0])
    found = bootstrap(samples, statistic, n_resamples=_RESAMPLES, method="percentile", rng=_SEED, vectorized=True)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
