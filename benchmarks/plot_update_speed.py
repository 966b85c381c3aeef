"""
Draw the results of update_speed.py.

    python benchmarks/plot_update_speed.py benchmarks/results/update-speed-cpu-1.json
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

COLORS = {
    "SB3 SAC": "#7f7f7f",
    "SDSAC": "#bcbd22",
    "TorchRL": "#8c564b",
    "SBX SAC": "#ff7f0e",
    "SoftAC eager": "#9ecae1",
    "SoftAC compile": "#1f77b4",
    "SoftAC cuda_graph": "#08306b",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    report = json.loads(options.results.read_text())
    shapes = report["shapes"]
    figure, axes = plt.subplots(figsize=(10, 4.2))
    width = 0.8 / len(COLORS)
    for index, (name, color) in enumerate(COLORS.items()):
        shares = [
            np.nan if name not in shape["contenders"] else shape["contenders"][name]["32"]["share_of_floor"]
            for shape in shapes.values()
        ]
        if not np.isnan(shares).all():
            axes.bar(np.arange(len(shapes)) + index * width, shares, width, color=color, label=name)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(np.arange(len(shapes)) + 0.4 - width / 2, [f"{n}\n{s['floor']:.0f}/s" for n, s in shapes.items()])
    axes.set_ylim(0, 1.3)
    axes.set_ylabel("share of the floor")
    axes.set_title(
        f"Gradient steps per second, 32 per call, {report['threads']} thread(s), over the floor's", fontsize=10
    )
    axes.legend(fontsize=8, ncols=2)
    figure.tight_layout()
    figure.savefig(options.results.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
