"""``softac-tune plot``: Optuna's plots of a study, as PNG and HTML."""

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from .places import add_place_options, place_of
from .statistics import interquartile_mean, interval
from .storage import open_storage
from .trials import book_of
from .worker import load_study

PLOTS = {
    "history": "plot_optimization_history",
    "importances": "plot_param_importances",
    "slices": "plot_slice",
    "curves": "plot_intermediate_values",
    "timeline": "plot_timeline",
}
INTERVALS = "intervals"
"""Plot of the results of ``validate``."""
_NEEDS_COMPLETE = {"importances": 2, "slices": 1, "history": 1}


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Define the options of ``plot``.

    :param parser: parser of this command
    """
    add_place_options(parser)
    parser.add_argument(
        "-o", "--output", metavar="FOLDER", help="folder to write to; default: plots in the study's folder"
    )
    parser.add_argument("--only", nargs="+", choices=[*PLOTS, INTERVALS], help="plots to write; default: all")


def run(options: argparse.Namespace) -> int:
    """
    Write the plots; if one needs more trials than there are, say so.

    :param options: command-line options
    :return: exit status
    :raises ValueError: if a package for plots is missing
    """
    place = place_of(options)
    study = load_study(open_storage(place.storage), place.study)
    folder = Path(options.output) if options.output is not None else place.folder / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    complete = len(book_of(study).complete)
    for name in options.only or [*PLOTS, INTERVALS]:
        if name == INTERVALS:
            _draw_intervals(place.folder / "validation.json", folder)
            continue
        if complete < _NEEDS_COMPLETE.get(name, 0):
            print(f"{name}: needs {_NEEDS_COMPLETE[name]} complete trials, there are {complete}")
            continue
        try:
            _draw(study, name, folder)
        except ImportError as error:
            raise ValueError(f'{error}. Plots need: pip install "sac-ext[tuning]"') from error
        except (ValueError, RuntimeError) as error:  # Optuna's message when a study has too little for this plot
            print(f"{name}: {error}")
            continue
        print(f"Wrote {folder / name}.png and .html")
    return 0


def _draw(study: optuna.Study, name: str, folder: Path) -> None:
    """Draw one of Optuna's plots as PNG and HTML."""
    import matplotlib as mpl
    import optuna.visualization as html
    import optuna.visualization.matplotlib as png

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        # about experimental features, few trials for importances, and matplotlib's legends
        warnings.simplefilter("ignore")
        function: Callable[[Any], Any] = getattr(html, PLOTS[name])
        function(study).write_html(folder / f"{name}.html", include_plotlyjs="cdn")
        axes = getattr(png, PLOTS[name])(study)
        figure = axes.flat[0].figure if hasattr(axes, "flat") else axes.figure
        if hasattr(axes, "flat"):
            figure.set_size_inches(3.2 * len(axes.flat), 3.5)
        figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
        plt.close(figure)


def _draw_intervals(report: Path, folder: Path) -> None:
    """Draw interquartile means on the test seeds, with their intervals."""
    if not report.exists():
        print(f"{INTERVALS}: needs {report}, which `softac-tune validate` writes")
        return
    import matplotlib as mpl
    import plotly.graph_objects as go

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    scores = json.loads(report.read_text())["test_scores"]
    names = list(scores)[::-1]
    means = [interquartile_mean(scores[name]) for name in names]
    limits = [interval(scores[name]) for name in names]
    below = [max(0.0, mean - low) for mean, (low, _) in zip(means, limits, strict=True)]
    above = [max(0.0, high - mean) for mean, (_, high) in zip(means, limits, strict=True)]
    figure, axis = plt.subplots(figsize=(6, 1 + 0.4 * len(names)))
    axis.errorbar(means, names, xerr=[below, above], fmt="o", capsize=4)
    axis.set_xlabel("IQM on test seeds, 95 % interval")
    axis.margins(y=0.2)
    figure.savefig(folder / f"{INTERVALS}.png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    errors = {"type": "data", "symmetric": False, "array": above, "arrayminus": below}
    chart = go.Figure(go.Scatter(x=means, y=names, error_x=errors, mode="markers"))
    chart.update_xaxes(title="IQM on test seeds, 95 % interval")
    chart.write_html(folder / f"{INTERVALS}.html", include_plotlyjs="cdn")
    print(f"Wrote {folder / INTERVALS}.png and .html")
