"""
Entropy, target and coefficient of the runs in results/entropy-kinds.jsonl, as results/entropy-kinds.png (seed 0), and
how far the entropy is from its target at the end, as Markdown (all seeds): python benchmarks/plot_entropy_kinds.py

Distances are shares of the entropy's range: their mean over the seeds, and the largest. On discrete actions, this range
is from 0 to the uniform policy's entropy; on Box, where entropy has no lower bound, it is from the lowest target of the
environment's runs to the uniform policy's entropy. In training, the means of entropy and target over the last tenth are
compared; after training, the final policy's entropy and the last target. Needs matplotlib (the ``bench`` extra).
"""

import math

import matplotlib as mpl
import numpy as np
from entropy_kinds import KINDS
from runs import RESULTS, read

mpl.use("Agg")
import matplotlib.pyplot as plt

COLUMNS = 4
MAXIMUM = math.log(2)  # entropy of the uniform policy, with CartPole's two actions and in Pendulum's one dimension


def curve_of(line: dict) -> np.ndarray:
    """:return: columns steps, entropy, target, coefficient"""
    return np.array(line["curve"])


def ends_of(line: dict) -> tuple[float, float, float, float]:
    """:return: target and entropy in the last tenth of training, the last target, and the entropy after training"""
    steps, entropy, target, _ = curve_of(line).T
    last = steps > 0.9 * line["steps"]
    return target[last].mean(), entropy[last].mean(), target[-1], line["policy_entropy"]


def draw(axis: plt.Axes, run: dict, legend: bool) -> None:
    steps, entropy, target, coefficient = curve_of(run).T
    axis.plot(steps, entropy, color="tab:blue", label="entropy")
    axis.plot(steps, target, color="black", linestyle="--", label="target")
    axis.set_title(f"{run['env'].split('-')[0]}: {run['kind']}", fontsize=9)
    right = axis.twinx()
    right.semilogy(steps, coefficient, color="tab:orange", alpha=0.7, label="coefficient")
    right.set_ylim(0.01, 10)
    for each in (axis, right):
        each.tick_params(labelsize=7)
    if legend:
        handles = [*axis.get_lines(), *right.get_lines()]
        axis.legend(handles, [str(line.get_label()) for line in handles], fontsize=7)


def main() -> None:
    lines = read(RESULTS / "entropy-kinds.jsonl")
    panels = [(env, kind) for env, kinds in KINDS.items() for kind in kinds]
    height = -(-len(panels) // COLUMNS)
    figure, axes = plt.subplots(height, COLUMNS, figsize=(3 * COLUMNS, 2.2 * height), layout="constrained")
    print(
        "| environment | target | its value at the end | entropy in training | distance | after training | distance |"
    )
    print("|" + " --- |" * 7)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    for axis, (env, kind) in zip(axes.flat, panels, strict=False):
        of_env = [line for line in lines if line["env"] == env]
        runs = sorted((line for line in of_env if line["kind"] == kind), key=lambda line: line["seed"])
        draw(axis, runs[0], legend=(env, kind) == panels[0])
        lowest = 0.0 if env == "CartPole-v1" else min(curve_of(run)[:, 2].min() for run in of_env)
        row = np.array([ends_of(run) for run in runs])
        end, reached, _, after = row.mean(axis=0)
        distances = np.abs(row[:, [0, 2]] - row[:, [1, 3]]) / (MAXIMUM - lowest)
        in_training, afterwards = (f"{of_seeds.mean():.1%} (at most {of_seeds.max():.1%})" for of_seeds in distances.T)
        cells = [f"{end:.3f}", f"{reached:.3f}", in_training, f"{after:.3f}", afterwards]
        print(f"| {env} | `{runs[0]['target']}` | {' | '.join(cells)} |")
    figure.savefig(RESULTS / "entropy-kinds.png", dpi=110)


if __name__ == "__main__":
    main()
