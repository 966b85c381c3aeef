"""What a command's options say, before the zoo's own parser reads them. Of an option given twice, the last counts."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any


def values_of(options: Sequence[str], *names: str) -> list[str]:
    """
    :param options: on the command line
    :param names: of one option, which may have several values
    :return: its values, none where it is not given
    """
    return list(_parse(options, names, nargs="*", default=[])[0])


def value_of(options: Sequence[str], *names: str) -> str:
    """
    :param options: on the command line
    :param names: of one option
    :return: its value, or "" where it is not given
    """
    return str(_parse(options, names, default="")[0])


def is_given(options: Sequence[str], *names: str) -> bool:
    """
    :param options: on the command line
    :param names: of one option without a value
    """
    return bool(_parse(options, names, action="store_true")[0])


def wants_help(options: Sequence[str]) -> bool:
    """:return: whether the zoo's command would only print its options"""
    return is_given(options, "-h", "--help")


def without(options: Sequence[str], *names: str) -> list[str]:
    """
    :param options: on the command line
    :param names: of one option, which may have several values
    :return: the others
    """
    return _parse(options, names, nargs="*", default=[])[1]


def environments_of(options: Sequence[str]) -> list[str]:
    """:return: what the options of a command name as its environments"""
    return values_of(options, "-e", "--env")


def with_folder_names(options: Sequence[str]) -> list[str]:
    """:return: options with environments as the zoo names their folders, ``MinAtar-Breakout-v1``"""
    names = environments_of(options)
    return [option.replace("/", "-") if option.removeprefix("--env=") in names else option for option in options]


@contextlib.contextmanager
def on_the_command_line(command: str, options: Sequence[str]) -> Iterator[None]:
    """
    The zoo's commands read ``sys.argv``.

    :param command: for messages
    :param options: of it
    """
    before, sys.argv = sys.argv, [f"softac-zoo {command}", *options]
    try:
        yield
    finally:
        sys.argv = before


def _parse(options: Sequence[str], names: Sequence[str], **how: Any) -> tuple[Any, list[str]]:
    """:return: of one option what was found, and what is left"""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*names, dest="found", **how)
    given, others = parser.parse_known_args(options)
    return given.found, others
