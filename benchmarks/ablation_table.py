"""
The table of benchmarks/ablation.py, as Markdown: python benchmarks/ablation_table.py --round first

Interquartile means of each run's deterministic episodes, averaged over seeds; intervals are 95 % bootstrap percentile
intervals over seeds, stratified by environment for the normalised score. That is 0 for what random actions reach, 1 for
what counts as solved, clipped to this range. The last column but one is how far its mean over the environments is from
that of the first variant of the round, with the interval of this difference. Intervals of two seeds mean little.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from ablation import ROUNDS, job
from runs import RESULTS, read
from scipy.stats import bootstrap

RANDOM_AND_SOLVED = {"CartPole-v1": (22.0, 500.0), "Acrobot-v1": (-500.0, -80.0), "LunarLander-v3": (-180.0, 200.0)}


def normalised(env: str, scores: np.ndarray) -> np.ndarray:
    low, high = RANDOM_AND_SOLVED[env]
    return ((scores - low) / (high - low)).clip(0, 1)


def interval(samples: list[np.ndarray], others: Sequence[np.ndarray] = ()) -> tuple[float, float] | None:
    """
    :param samples: scores in each environment
    :param others: the same of another variant, or nothing
    :return: interval of the mean of the samples' means, minus that of the others; None if a sample has one value
    """
    parts = [*samples, *others]
    if min(map(len, parts)) < 2:
        return None

    def difference(*parts: np.ndarray, axis: int = -1) -> Any:
        means = [part.mean(axis=axis) for part in parts]
        result = np.mean(means[: len(samples)], axis=0)
        return result - np.mean(means[len(samples) :], axis=0) if others else result

    result = bootstrap(parts, difference, n_resamples=5000, method="percentile", rng=0, vectorized=True)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def cell(value: float, limits: tuple[float, float] | None, digits: int) -> str:
    between = f" ({limits[0]:.{digits}f}, {limits[1]:.{digits}f})" if limits else ""
    return f"{value:.{digits}f}{between}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--round", choices=ROUNDS, required=True)
    options = parser.parse_args()
    round_ = ROUNDS[options.round]
    lines = read(RESULTS / f"ablation-{options.round}.jsonl")
    envs = list(round_.steps)
    found: dict[str, dict[str, np.ndarray]] = {}
    for variant in round_.variants:
        of_envs = {
            env: np.array(
                [
                    line["iqm"]
                    for line in lines
                    if line["seed"] in round_.seeds and job(round_, env, variant, line["seed"]).items() <= line.items()
                ]
            )
            for env in envs
        }
        if all(len(values) for values in of_envs.values()):
            found[variant] = of_envs
    shares = {
        variant: [normalised(env, values) for env, values in of_envs.items()] for variant, of_envs in found.items()
    }
    totals = {variant: float(np.mean([part.mean() for part in parts])) for variant, parts in shares.items()}
    first = next(iter(round_.variants))
    steps = [f"{env}, {round_.steps[env] // 1000}k" for env in envs]
    print("| variant | " + " | ".join(steps) + f" | normalised | less that of {first} | seeds |")
    print("|" + " --- |" * (len(envs) + 4))
    for variant in sorted(found, key=lambda variant: -totals[variant]):
        cells = [cell(float(values.mean()), interval([values]), 0) for values in found[variant].values()]
        cells.append(cell(totals[variant], interval(shares[variant]), 2))
        others = shares.get(first, [])
        is_first = variant == first or not others
        cells.append("" if is_first else cell(totals[variant] - totals[first], interval(shares[variant], others), 2))
        cells.append("/".join(str(len(values)) for values in found[variant].values()))
        print("| " + " | ".join([variant, *cells]) + " |")


if __name__ == "__main__":
    main()
