"""``softac-tune``: the commands and their options."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence

import optuna

from . import commands, plots, tune, validate
from .places import add_place_options

_Command = tuple[str, Callable[[argparse.ArgumentParser], None], Callable[[argparse.Namespace], int]]

COMMANDS: dict[str, _Command] = {
    "tune": ("create or resume a study", tune.add_options, tune.run),
    "worker": ("add a process to a study", commands.add_worker_options, commands.run_worker),
    "status": ("how a study is getting on", add_place_options, commands.run_status),
    "best": ("the best trials as zoo entries", commands.add_best_options, commands.run_best),
    "validate": ("measure the best on new seeds, beside the baseline", validate.add_options, validate.run),
    "plot": ("plots as PNG and HTML", plots.add_options, plots.run),
    "export": ("all trials as CSV", commands.add_export_options, commands.run_export),
    "reap": ("redo trials whose process is gone", commands.add_reap_options, commands.run_reap),
    "repair": ("take broken lines out of a journal", add_place_options, commands.run_repair),
    "dashboard": ("run optuna-dashboard", add_place_options, commands.run_dashboard),
}


def main(argv: Sequence[str] | None = None) -> int:
    """
    :param argv: command and options; those of the process by default
    :return: exit status
    """
    parser = argparse.ArgumentParser("softac-tune", description="Tune SoftAC with Optuna.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (text, add_options, _) in COMMANDS.items():
        formatter = argparse.RawDescriptionHelpFormatter
        add_options(subparsers.add_parser(name, help=text, description=text, formatter_class=formatter))
    options = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # where modules of --env module:id are looked for, as python -m does
    try:
        return COMMANDS[options.command][2](options)
    except ValueError as error:
        print(f"softac-tune {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"softac-tune {options.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0  # whoever read this has enough
    except OSError as error:
        if error.errno != errno.ENOSPC:
            print(f"softac-tune {options.command}: {error}", file=sys.stderr)
            return 2
        print(
            f"softac-tune {options.command}: no space left on the disk ({error.filename or 'storage'}). Nothing that "
            "was finished is lost; make room, and the same command goes on",
            file=sys.stderr,
        )
        return 2
