"""
Entropy, target and coefficient of the runs in results/entropy-kinds.jsonl, as results/entropy-kinds.png, and how far
the entropy is from its target at the end, as Markdown: python benchmarks/plot_entropy_kinds.py

The distance is that of the means over the last tenth of training, as a share of the entropy's range: on discrete
actions from 0 to the uniform policy's; on Box, which has no lower end, from the lowest target of the run's kinds to the
uniform policy's. Needs matplotlib (the ``bench`` extra).
"""

import math

import matplotlib as mpl
import numpy as np
from entropy_kinds import KINDS
from runs import RESULTS, read

mpl.use("Agg")
import matplotlib.pyplot as plt

COLUMNS = 4
MAXIMUM = math.log(2)  # of CartPole's two actions, and of Pendulum's one dimension


def curve_of(line: dict) -> np.ndarray:
    """:return: columns steps, entropy, target, coefficient"""
    return np.array(line["curve"])


def main() -> None:
    lines = read(RESULTS / "entropy-kinds.jsonl")
    height = len(KINDS) * 2
    figure, axes = plt.subplots(height, COLUMNS, figsize=(3 * COLUMNS, 2.2 * height), layout="constrained")
    print("| environment | target | its value at the end | entropy in training | distance | entropy after training |")
    print("|" + " --- |" * 6)
    for half, (env, kinds) in zip(np.split(axes, len(KINDS)), KINDS.items(), strict=True):
        runs = sorted((line for line in lines if line["env"] == env), key=lambda line: list(kinds).index(line["kind"]))
        lowest = 0.0 if env == "CartPole-v1" else min(curve_of(run)[:, 2].min() for run in runs)
        for axis, run in zip(half.flat, runs, strict=True):
            steps, entropy, target, coefficient = curve_of(run).T
            axis.plot(steps, entropy, color="tab:blue", label="entropy")
            axis.plot(steps, target, color="black", linestyle="--", label="target")
            axis.set_title(f"{env.split('-')[0]}: {run['kind']}", fontsize=9)
            right = axis.twinx()
            right.semilogy(steps, coefficient, color="tab:orange", alpha=0.7, label="coefficient")
            right.set_ylim(0.01, 10)
            for each in (axis, right):
                each.tick_params(labelsize=7)
            if run is runs[-1]:
                handles = [*axis.get_lines(), *right.get_lines()]
                axis.legend(handles, [str(line.get_label()) for line in handles], fontsize=7)
            last = steps > 0.9 * run["steps"]
            end, reached = target[last].mean(), entropy[last].mean()
            share = abs(reached - end) / (MAXIMUM - lowest)
            after = run["policy_entropy"]
            print(f"| {env} | `{run['target']}` | {end:.3f} | {reached:.3f} | {share:.1%} | {after:.3f} |")
    figure.savefig(RESULTS / "entropy-kinds.png", dpi=110)


if __name__ == "__main__":
    main()
