"""Commands for what was trained: enjoy, record_video, benchmark and the plots."""

import runpy
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sac_ext.zoo import masks, runs
from sac_ext.zoo.options import on_the_command_line, value_of, values_of, wants_help, with_folder_names, without
from sac_ext.zoo.running import ALGO, needs, run_function, run_script, this_program
from sac_ext.zoo.runs import LOG_FOLDER

_OF_PLOTS = ("seaborn", "scipy", "pandas", "pytablewriter")


def enjoy(options: list[str]) -> None:
    """
    ``rl_zoo3.enjoy`` with a trained SoftAC.

    :param options: command-line options of ``rl_zoo3.enjoy``
    """
    needs("zoo", "requests")
    runs.check_model(options)
    from rl_zoo3 import enjoy as zoo_enjoy

    with masks.in_what_is_played(zoo_enjoy):
        run_function("enjoy", zoo_enjoy.enjoy, ["-f", LOG_FOLDER, *options])


def record_video(options: list[str]) -> None:
    """
    ``rl_zoo3.record_video`` with a trained SoftAC.

    :param options: command-line options of ``rl_zoo3.record_video``
    """
    needs("zoo", "moviepy")
    runs.check_model(options)
    from rl_zoo3 import record_video as zoo_record_video

    with masks.in_what_is_played(zoo_record_video):
        run_script("record_video", zoo_record_video, ["-f", LOG_FOLDER, *options])


def benchmark(options: list[str]) -> None:
    """
    ``rl_zoo3.benchmark``: the scores of everything that was trained, as a table in ``benchmark.md``. The zoo
    runs ``python enjoy.py`` in the current folder for that; here this package's enjoy is run, so any folder will do.
    Models of the hub are left out. Environments with a slash in their names are found, and a model that was trained
    after its score was written is scored again.

    :param options: command-line options of ``rl_zoo3.benchmark``
    """
    needs("zoo", "pandas", "pytablewriter", "requests")
    from huggingface_sb3 import EnvironmentName
    from rl_zoo3 import utils

    call, get_trained_models = subprocess.call, utils.get_trained_models
    options = ["--log-dir", LOG_FOLDER, "--benchmark-dir", f"{LOG_FOLDER}/benchmark", "--no-hub", *options]
    benchmark_folder, log_folder = (Path(value_of(options, name)) for name in ("--benchmark-dir", "--log-dir"))
    packages = values_of(options, "--gym-packages")
    if not wants_help(options) and not (log_folder.is_dir() and get_trained_models(str(log_folder))):
        raise SystemExit(f"there are no trained models in {log_folder}: train one, or name their folder with --log-dir")
    if not wants_help(options):
        benchmark_folder.mkdir(parents=True, exist_ok=True)  # for the zoo's table, even if nothing could be scored

    def call_enjoy(command: Sequence[str], *args: Any, **kwargs: Any) -> int:
        if list(command[:2]) == ["python", "enjoy.py"]:
            words = [getattr(word, "gym_id", word) for word in command[2:]]  # gym_id may have a slash
            command = [*this_program(), "enjoy", *words, *(["--gym-packages", *packages] if packages else [])]
        return call(command, *args, **kwargs)

    def trained_models(log_folder: str) -> dict[str, tuple[str, str]]:
        found = {
            model: (algo, EnvironmentName(env_id)) for model, (algo, env_id) in get_trained_models(log_folder).items()
        }
        for model, (algo, env_id) in found.items():
            files = Path(log_folder, algo).glob(f"{env_id}_*/{env_id}.zip")
            scores = benchmark_folder / model
            if scores.is_dir() and max((file.stat().st_mtime for file in files), default=0.0) > scores.stat().st_mtime:
                shutil.rmtree(scores)
        return found

    with (
        on_the_command_line("benchmark", without(options, "--gym-packages")),
        patch.object(subprocess, "call", call_enjoy),
        patch.object(utils, "get_trained_models", trained_models),
    ):
        runpy.run_module("rl_zoo3.benchmark", run_name="__main__")


def plot_train(options: list[str]) -> None:
    """
    ``rl_zoo3.plots.plot_train``: returns during training.

    :param options: its command-line options
    """
    needs("zoo", *_OF_PLOTS)
    runs.check_any(options)
    from rl_zoo3.plots import plot_train as zoo_plot_train

    run_function("plot_train", zoo_plot_train, ["-f", LOG_FOLDER, *with_folder_names(options)])


def all_plots(options: list[str]) -> None:
    """
    ``rl_zoo3.plots.all_plots``: the evaluations of several runs, also as a file for ``plot_from_file``.

    :param options: its command-line options
    """
    needs("zoo", *_OF_PLOTS)
    runs.check_any(options)
    from rl_zoo3.plots import all_plots as zoo_all_plots

    with on_the_command_line("all_plots", ["-a", ALGO, "-f", LOG_FOLDER, *with_folder_names(options)]):
        zoo_all_plots()


def plot_from_file(options: list[str]) -> None:
    """
    ``rl_zoo3.plots.plot_from_file``: plots of a file that ``all_plots`` has written.

    :param options: its command-line options
    """
    needs("zoo", *_OF_PLOTS, "rliable")
    file = value_of(options, "-i", "--input")
    if file and not Path(file).is_file():
        raise SystemExit(f"-i {file}: there is no such file; softac-zoo all_plots -o writes one")
    from rl_zoo3.plots import plot_from_file as zoo_plot_from_file

    with on_the_command_line("plot_from_file", options):
        zoo_plot_from_file()
