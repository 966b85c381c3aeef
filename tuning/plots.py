"""``softac-tune plot``: Optuna's plots of a study, as PNG and HTML."""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from .places import add_place_options, place_of
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
_NEEDS_COMPLETE = {"importances": 2, "slices": 1, "history": 1}


def add_options(parser: argparse.ArgumentParser) -> None:
    """:param parser: of this command"""
    add_place_options(parser)
    parser.add_argument("-o", "--output", metavar="FOLDER", help="default: plots in the study's folder")
    parser.add_argument("--only", nargs="+", choices=PLOTS, default=list(PLOTS), help="default: all")


def run(options: argparse.Namespace) -> int:
    """
    :param options: of the command line
    :return: exit status
    :raises ValueError: if a package for plots is missing
    """
    place = place_of(options)
    study = _that_counts(load_study(open_storage(place.storage), place.study))
    folder = Path(options.output) if options.output is not None else place.folder / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    complete = len(book_of(study).complete)
    for name in options.only:
        if complete < _NEEDS_COMPLETE.get(name, 0):
            print(f"{name}: needs {_NEEDS_COMPLETE[name]} complete trials, there are {complete}")
            continue
        try:
            _draw(study, name, folder)
        except ImportError as error:
            raise ValueError(f'{error}. Plots need: pip install "sac-ext[tuning]"') from error
        except (ValueError, RuntimeError) as error:  # too little in the study for this plot, in Optuna's words
            print(f"{name}: {error}")
            continue
        print(f"Wrote {folder / name}.png and .html")
    return 0


def _that_counts(study: optuna.Study) -> optuna.Study:
    """A copy in memory of the trials that count and are over."""
    copy = optuna.create_study(direction=study.direction, study_name=study.study_name)
    copy.add_trials(trial for trial in book_of(study).finished)
    return copy


def _draw(study: optuna.Study, name: str, folder: Path) -> None:
    import matplotlib as mpl
    import optuna.visualization as html
    import optuna.visualization.matplotlib as png

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # experimental, few trials for importances, and what matplotlib thinks of legends
        function: Callable[[Any], Any] = getattr(html, PLOTS[name])
        function(study).write_html(folder / f"{name}.html", include_plotlyjs="cdn")
        axes = getattr(png, PLOTS[name])(study)
        figure = axes.flat[0].figure if hasattr(axes, "flat") else axes.figure
        if hasattr(axes, "flat"):
            figure.set_size_inches(3.2 * len(axes.flat), 3.5)
        figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
        plt.close(figure)
