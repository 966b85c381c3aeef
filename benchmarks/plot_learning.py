"""
Returns during training of the runs in results/learning.jsonl, as results/learning.png:
python benchmarks/plot_learning.py

Every seed is a thin line, the mean over seeds a thick one; each point is the mean return of the episodes that ended in
a tenth of training. Needs matplotlib (the ``bench`` extra).
"""

import matplotlib as mpl
import numpy as np
from learning import up_to_date
from runs import RESULTS, read

mpl.use("Agg")
import matplotlib.pyplot as plt

COLORS = {"SoftAC": "tab:blue", "SAC": "tab:orange", "DQN": "tab:gray", "PPO": "tab:pink", "SDSAC": "tab:olive"}
MORE = {"TD3": "tab:green", "DDPG": "tab:red", "SoftAC without entropy": "tab:purple"}


def main() -> None:
    shown = COLORS | MORE
    lines = read(RESULTS / "learning.jsonl")
    lines = [line for line in up_to_date(lines) if line["contender"] in shown]
    envs = list(dict.fromkeys(line["env"] for line in lines))
    figure, axes = plt.subplots(1, len(envs), figsize=(4.5 * len(envs), 3.2), squeeze=False, layout="constrained")
    for axis, env in zip(axes[0], envs, strict=True):
        for contender, color in shown.items():
            runs = [line for line in lines if (line["env"], line["contender"]) == (env, contender)]
            if not runs:
                continue
            curves = np.array([run["training"] for run in runs], dtype=np.float64)  # (seeds, 10), NaN for none
            steps = runs[0]["steps"] * (np.arange(10) + 0.5) / 10_000  # in thousands
            for curve in curves:
                axis.plot(steps, curve, color=color, alpha=0.3, linewidth=1)
            axis.plot(steps, np.nanmean(curves, axis=0), color=color, linewidth=2.5, label=contender)
        seeds = {line["seed"] for line in lines if line["env"] == env}
        axis.set_title(f"{env}, {len(seeds)} seeds", fontsize=10)
        axis.set_xlabel("thousand environment steps")
        axis.set_ylabel("return during training")
        axis.legend(fontsize=8)
        axis.grid(alpha=0.3)
    figure.savefig(RESULTS / "learning.png", dpi=120)


if __name__ == "__main__":
    main()
