"""
Returns during training of the runs in results/learning.jsonl, as results/learning.png:
python benchmarks/plot_learning.py

Each point is the mean return of the episodes that ended in a tenth of training; lines are interquartile means over the
seeds, bands their 95 % bootstrap intervals (Agarwal et al. 2021), if there are at least three seeds. Needs matplotlib
(the ``bench`` extra).
"""

import warnings
from typing import Any

import matplotlib as mpl
import numpy as np
from learning import up_to_date
from runs import RESULTS, read

from sac_ext.tuning.statistics import interquartile_mean, interval

mpl.use("Agg")
import matplotlib.pyplot as plt

COLORS = {
    "SoftAC": "tab:blue",
    "SAC": "tab:orange",
    "DQN": "tab:gray",
    "PPO": "tab:pink",
    "SDSAC": "tab:olive",
    "TD3": "tab:green",
    "DDPG": "tab:red",
    "SoftAC without entropy": "tab:purple",
}
ENOUGH = 3
"""Seeds needed for a band."""
COLUMNS = 4
"""Largest number of columns."""


def curve(runs: list[dict[str, Any]]) -> np.ndarray:
    """:return: ``(P, 4)``: thousand steps, interquartile mean and its interval, for tenths in which an episode ended"""
    rows = []
    for tenth in range(10):
        returns = [run["training"][tenth] for run in runs if run["training"][tenth] is not None]
        if returns:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about equal returns, whose interval is a point
                limits = interval(returns) if len(returns) >= ENOUGH else (np.nan, np.nan)
            rows.append((runs[0]["steps"] * (tenth + 0.5) / 10_000, interquartile_mean(returns), *limits))
    return np.array(rows)


def main() -> None:
    lines = [line for line in up_to_date(read(RESULTS / "learning.jsonl")) if line["contender"] in COLORS]
    envs = list(dict.fromkeys(line["env"] for line in lines))
    n_rows = -(-len(envs) // COLUMNS)
    n_columns = -(-len(envs) // n_rows)
    size = (4.5 * n_columns, 3.2 * n_rows)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=size, squeeze=False, layout="constrained")
    for axis, env in zip(axes.flat, envs, strict=False):
        for contender, color in COLORS.items():
            runs = [line for line in lines if (line["env"], line["contender"]) == (env, contender)]
            if runs:
                steps, middle, low, high = curve(runs).T
                label = f"{contender}, {len(runs)} seed{'s' * (len(runs) > 1)}"
                axis.plot(steps, middle, color=color, linewidth=2, label=label)
                axis.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
        axis.set_title(env, fontsize=10)
        axis.set_xlabel("thousand environment steps")
        axis.set_ylabel("return during training")
        axis.legend(fontsize=7)
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(envs) :]:
        axis.axis("off")
    figure.savefig(RESULTS / "learning.png", dpi=100)


if __name__ == "__main__":
    main()
