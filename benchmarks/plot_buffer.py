"""
The results of buffer.py as a figure beside them: python benchmarks/plot_buffer.py benchmarks/results/buffer-cpu.json

How many times faster, or smaller, than SB3's buffer the others are. Needs matplotlib (the ``bench`` extra).
"""

import argparse
import json
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

PANELS = {
    "add": "add",
    "sample": "sample(256)",
    "sample_many": "sample_many(32, 256)",
    "batches": "batches(32, 256)",
    "nbytes": "memory",
}
CONTENDERS = {
    "TorchRL": {"color": "tab:orange", "marker": "s"},
    "sac_ext": {"color": "tab:blue", "marker": "o"},
    "sac_ext, frame_stack=4": {"color": "tab:green", "marker": "D"},
}
TICKS = (0.03, 0.1, 0.3, 1, 3, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="JSON file written by buffer.py")
    path = parser.parse_args().results
    cells = json.loads(path.read_text())["cells"]
    figure, axes = plt.subplots(1, len(PANELS), figsize=(9, 3.4), sharex=True, sharey=True, layout="constrained")
    for axis, (panel, title) in zip(axes, PANELS.items(), strict=True):
        for name, style in CONTENDERS.items():
            ratios = {
                row: cell["nbytes"]["SB3"] / cell["nbytes"][name] if panel == "nbytes" else cell[panel][name]["speedup"]
                for row, cell in enumerate(cells)
                if name in cell["nbytes"]
            }
            if ratios:
                axis.plot(ratios.values(), ratios.keys(), linestyle="none", markersize=5, label=name, **style)
        axis.axvline(1, color="black", linewidth=1, zorder=0)
        axis.set_xscale("log")
        axis.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axis.minorticks_off()
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    axes[0].set_yticks(range(len(cells)), [f"{cell['kind']}, n_envs={cell['n_envs']}" for cell in cells])
    axes[0].invert_yaxis()
    figure.supxlabel("times as fast as SB3; memory: times smaller", fontsize=9)
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8, frameon=False)
    figure.savefig(path.with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
