"""Reading a command's options before the zoo's own parser does. Of an option given twice, the last counts."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any


def values_of(options: Sequence[str], *names: str) -> list[str]:
    """
    :param options: command-line options
    :param names: names of one option, which may have several values
    :return: its values, none if it is not given
    """
    return list(_parse(options, names, nargs="*", default=[])[0])


def value_of(options: Sequence[str], *names: str) -> str:
    """
    :param options: command-line options
    :param names: names of one option
    :return: its value, or "" if it is not given
    """
    return str(_parse(options, names, default="")[0])


def is_given(options: Sequence[str], *names: str) -> bool:
    """
    :param options: command-line options
    :param names: names of one option without a value
    """
    return bool(_parse(options, names, action="store_true")[0])


def wants_help(options: Sequence[str]) -> bool:
    """:return: whether the zoo's command would only print its options"""
    return is_given(options, "-h", "--help")


def without(options: Sequence[str], *names: str) -> list[str]:
    """
    :param options: command-line options
    :param names: names of one option, which may have several values
    :return: the other options
    """
    return _parse(options, names, nargs="*", default=[])[1]


def environments_of(options: Sequence[str]) -> list[str]:
    """:return: the environments that the options of a command name"""
    return values_of(options, "-e", "--env")


def with_folder_names(options: Sequence[str]) -> list[str]:
    """:return: the options, with environments named as the zoo names their folders, ``MinAtar-Breakout-v1``"""
    names = environments_of(options)
    return [option.replace("/", "-") if option.removeprefix("--env=") in names else option for option in options]


@contextlib.contextmanager
def on_the_command_line(command: str, options: Sequence[str]) -> Iterator[None]:
    """
    Put a command into ``sys.argv``, which the zoo's commands read.

    :param command: name of the command, for messages
    :param options: its options
    """
    before, sys.argv = sys.argv, [f"softac-zoo {command}", *options]
    try:
        yield
    finally:
        sys.argv = before


def _parse(options: Sequence[str], names: Sequence[str], **how: Any) -> tuple[Any, list[str]]:
    """:return: what was found of one option, and the other options"""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*names, dest="found", **how)
    given, others = parser.parse_known_args(options)
    return given.found, others
