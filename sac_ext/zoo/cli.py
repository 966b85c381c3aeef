"""``softac-zoo``: the commands."""

import sys
import traceback
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gymnasium as gym

from sac_ext.soft_ac import SoftAC
from sac_ext.zoo import environments, hub, play
from sac_ext.zoo.options import environments_of, values_of, without
from sac_ext.zoo.registration import PlayedSoftAC, register
from sac_ext.zoo.running import in_one_line
from sac_ext.zoo.train import train


@dataclass(frozen=True)
class Command:
    """
    :param run: runs the command, given its options
    :param algorithm: class that is registered as SoftAC for this command
    :param makes_env: whether the command makes the environment that its options name
    :param imports: whether the command takes ``--gym-packages`` itself
    """

    run: Callable[[list[str]], None]
    algorithm: type[SoftAC] = PlayedSoftAC
    makes_env: bool = False
    imports: bool = False


COMMANDS = {
    "train": Command(train, SoftAC, makes_env=True, imports=True),
    "enjoy": Command(play.enjoy, makes_env=True, imports=True),
    "record_video": Command(play.record_video, makes_env=True),
    "benchmark": Command(play.benchmark, imports=True),
    "plot_train": Command(play.plot_train),
    "all_plots": Command(play.all_plots),
    "plot_from_file": Command(play.plot_from_file),
    "push_to_hub": Command(hub.push_to_hub, SoftAC, makes_env=True),
    "load_from_hub": Command(hub.load_from_hub),
}


def main(argv: Sequence[str] | None = None) -> None:
    """
    :param argv: command and its options; those of the process if None
    :raises SystemExit: with a one-line message, if something is missing, or SoftAC refuses an argument
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    usage = f"usage: softac-zoo {{{','.join(COMMANDS)}}} [options of rl_zoo3's command]"
    if arguments and arguments[0] in ("-h", "--help"):
        print(usage)
        return
    if not arguments or arguments[0] not in COMMANDS:
        raise SystemExit(f"unknown command {arguments[0]!r}\n{usage}" if arguments else usage)
    command, options = COMMANDS[arguments[0]], arguments[1:]
    asked_for, packages = environments_of(options), values_of(options, "--gym-packages")
    try:
        register(command.algorithm, asked_for)
    except ImportError as error:
        raise SystemExit(str(error)) from error
    environments.import_packages(packages)
    if command.makes_env:
        for name in asked_for:
            environments.check(name)
    try:
        command.run(options if command.imports else without(options, "--gym-packages"))
    except gym.error.DependencyNotInstalled as error:
        raise SystemExit(in_one_line(error)) from error
    except ValueError as error:
        if not str(_raised_in(error).f_globals.get("__name__", "")).startswith("sac_ext."):
            raise  # from other packages, whose messages may not say enough
        raise SystemExit(in_one_line(error)) from error
    except NameError as error:
        if _raised_in(error).f_code.co_filename != "<string>":
            raise
        raise SystemExit(
            f"{in_one_line(error)}, in a value that is evaluated as Python: put strings of -params and --env-kwargs in "
            "quotes, such as policy:\"'CnnPolicy'\""
        ) from error


def _raised_in(error: Exception) -> types.FrameType:
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame
