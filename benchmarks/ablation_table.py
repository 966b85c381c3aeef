"""
The table of benchmarks/ablation.py, as Markdown: python benchmarks/ablation_table.py --round first

Interquartile means of each run's deterministic episodes, averaged over seeds; intervals are 95 % bootstrap percentile
intervals over seeds, stratified by environment for the normalised score. That is 0 for what random actions reach, 1 for
what counts as solved, and at most 1.
"""

import argparse
from typing import Any

import numpy as np
from ablation import ROUNDS
from runs import RESULTS, read
from scipy.stats import bootstrap

RANDOM_AND_SOLVED = {"CartPole-v1": (22.0, 500.0), "Acrobot-v1": (-500.0, -80.0), "LunarLander-v3": (-180.0, 200.0)}


def normalised(env: str, scores: np.ndarray) -> np.ndarray:
    low, high = RANDOM_AND_SOLVED[env]
    return ((scores - low) / (high - low)).clip(0, 1)


def interval(samples: list[np.ndarray]) -> tuple[float, float] | None:
    """:return: of the mean of the samples' means, or None where a sample has one value"""
    if min(map(len, samples)) < 2:
        return None

    def mean_of_means(*parts: np.ndarray, axis: int = -1) -> Any:
        return np.mean([part.mean(axis=axis) for part in parts], axis=0)

    result = bootstrap(samples, mean_of_means, n_resamples=5000, method="percentile", rng=0, vectorized=True)
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
    rows = []
    for variant in round_.variants:
        scores = {
            env: np.array([line["iqm"] for line in lines if (line["variant"], line["env"]) == (variant, env)])
            for env in envs
        }
        if not all(len(values) for values in scores.values()):
            continue
        shares = [normalised(env, values) for env, values in scores.items()]
        total = float(np.mean([part.mean() for part in shares]))
        cells = [cell(float(values.mean()), interval([values]), 0) for values in scores.values()]
        seeds = "/".join(str(len(values)) for values in scores.values())
        rows.append((total, [variant, *cells, cell(total, interval(shares), 2), seeds]))
    steps = [f"{env}, {round_.steps[env] // 1000}k" for env in envs]
    print("| variant | " + " | ".join(steps) + " | normalised | seeds |")
    print("|" + " --- |" * (len(envs) + 3))
    for _, row in sorted(rows, key=lambda each: -each[0]):
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
