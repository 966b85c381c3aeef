"""Commands for what was trained: enjoy, record_video, benchmark and the plots."""

import runpy
import subprocess
import sys
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from sac_ext.zoo.running import ALGO, needs, options_of, run_function, run_script

LOG_FOLDER = "logs"


def enjoy(options: list[str]) -> None:
    """
    ``rl_zoo3.enjoy`` with a trained SoftAC.

    :param options: command-line options of ``rl_zoo3.enjoy``
    """
    needs("zoo", "requests")
    from rl_zoo3.enjoy import enjoy as zoo_enjoy

    run_function("enjoy", zoo_enjoy, ["-f", LOG_FOLDER, *options])


def record_video(options: list[str]) -> None:
    """
    ``rl_zoo3.record_video`` with a trained SoftAC.

    :param options: command-line options of ``rl_zoo3.record_video``
    """
    needs("zoo", "moviepy")
    run_script("record_video", "rl_zoo3.record_video", ["-f", LOG_FOLDER, *options])


def benchmark(options: list[str]) -> None:
    """
    ``rl_zoo3.benchmark``: the scores of everything that was trained, as a table in ``benchmark.md``. It starts
    ``python enjoy.py`` in the current folder; here that is this package's enjoy, wherever one is. Models of the hub are
    left out.

    :param options: command-line options of ``rl_zoo3.benchmark``
    """
    needs("zoo", "pandas", "pytablewriter", "requests")
    call = subprocess.call

    def call_enjoy(command: Sequence[str], *args: Any, **kwargs: Any) -> int:
        if list(command[:2]) == ["python", "enjoy.py"]:
            command = [sys.executable, "-m", "sac_ext.zoo", "enjoy", *command[2:]]
        return call(command, *args, **kwargs)

    defaults = ["--log-dir", LOG_FOLDER, "--benchmark-dir", f"{LOG_FOLDER}/benchmark", "--no-hub"]
    with options_of("benchmark", [*defaults, *options]), patch.object(subprocess, "call", call_enjoy):
        runpy.run_module("rl_zoo3.benchmark", run_name="__main__")


def plot_train(options: list[str]) -> None:
    """
    ``rl_zoo3.plots.plot_train``: returns during training.

    :param options: its command-line options
    """
    needs("zoo", "seaborn")
    from rl_zoo3.plots import plot_train as zoo_plot_train

    run_function("plot_train", zoo_plot_train, ["-f", LOG_FOLDER, *options])


def all_plots(options: list[str]) -> None:
    """
    ``rl_zoo3.plots.all_plots``: the evaluations of several runs, also as a file for ``plot_from_file``.

    :param options: its command-line options
    """
    needs("zoo", "seaborn", "pytablewriter")
    from rl_zoo3.plots import all_plots as zoo_all_plots

    with options_of("all_plots", ["-a", ALGO, "-f", LOG_FOLDER, *options]):
        zoo_all_plots()


def plot_from_file(options: list[str]) -> None:
    """
    ``rl_zoo3.plots.plot_from_file``: from what ``all_plots`` has written.

    :param options: its command-line options
    """
    needs("zoo", "seaborn", "pytablewriter", "rliable")
    from rl_zoo3.plots import plot_from_file as zoo_plot_from_file

    with options_of("plot_from_file", options):
        zoo_plot_from_file()
