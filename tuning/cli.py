"""``softac-tune``: the commands and their options."""

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import optuna

from . import commands, plots, tune, validate
from .places import add_place_options


class Command(NamedTuple):
    """A command of ``softac-tune``."""

    text: str
    """What the command does, for ``--help``."""
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Runs the command, and returns the exit status."""


COMMANDS = {
    "tune": Command("create or resume a study", tune.add_options, tune.run),
    "worker": Command("add a process to a study", commands.add_worker_options, commands.run_worker),
    "status": Command("show the progress of a study", add_place_options, commands.run_status),
    "best": Command("print or write the best trials as zoo entries", commands.add_best_options, commands.run_best),
    "validate": Command("compare the best trials with the baseline on new seeds", validate.add_options, validate.run),
    "plot": Command("write plots as PNG and HTML", plots.add_options, plots.run),
    "export": Command("write all trials as CSV", commands.add_export_options, commands.run_export),
    "reap": Command("repeat trials whose process has ended", commands.add_reap_options, commands.run_reap),
    "repair": Command("remove broken lines from a journal", add_place_options, commands.run_repair),
    "dashboard": Command("run optuna-dashboard", add_place_options, commands.run_dashboard),
}


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run a command of ``softac-tune``; mistakes of the user are reported in one line on standard error.

    :param argv: command and options; those of the process if None
    :return: exit status
    """
    parser = argparse.ArgumentParser("softac-tune", description="Tune SoftAC with Optuna.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.add_options(subparsers.add_parser(name, help=command.text, description=command.text))
    options = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # so that --env module:id finds modules here, as python -m does
    try:
        return COMMANDS[options.command].run(options)
    except ValueError as error:
        print(f"softac-tune {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"softac-tune {options.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0  # the reader has closed the pipe, as head does
    except OSError as error:
        if error.errno != errno.ENOSPC:
            print(f"softac-tune {options.command}: {error}", file=sys.stderr)
            return 2
        print(
            f"softac-tune {options.command}: no space left on the disk ({error.filename or 'storage'}). What is "
            "finished is kept: free some space, and run the same command again to continue",
            file=sys.stderr,
        )
        return 2
