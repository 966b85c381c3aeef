"""
The learning curves in results/score-*.jsonl, as results/scores.png: python benchmarks/plot_scores.py

Every seed is a thin line, their mean a thick one; the figure in a title is the interquartile mean of the final
evaluation of each seed. Needs matplotlib (the ``bench`` extra).
"""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    files = sorted(RESULTS.glob("score-*.jsonl"))
    figure, axes = plt.subplots(1, len(files), figsize=(4.5 * len(files), 3.2), squeeze=False, layout="constrained")
    for axis, path in zip(axes[0], files, strict=True):
        runs = [json.loads(line) for line in path.read_text().splitlines()]
        curves = np.array([run["curve"] for run in runs])  # (seeds, points, 2)
        for curve in curves:
            axis.plot(*curve.T, color="tab:blue", alpha=0.35, linewidth=1)
        axis.plot(*curves.mean(axis=0).T, color="tab:blue", linewidth=2.5)
        scores = ", ".join(f"{run['iqm']:.0f}" for run in runs)
        axis.set_title(f"{runs[0]['env']}: {scores}", fontsize=10)
        axis.set_xlabel("environment steps")
        axis.set_ylabel("return of 10 evaluation episodes")
        axis.grid(alpha=0.3)
    figure.savefig(RESULTS / "scores.png", dpi=120)


if __name__ == "__main__":
    main()
