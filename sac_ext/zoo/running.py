"""Running the zoo's own commands with other options, and with some of their functions replaced."""

import argparse
import ast
import contextlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any, TypeGuard

ALGO = "softac"
"""What SoftAC is called in the zoo's tables."""


@contextlib.contextmanager
def options_of(command: str, options: list[str]) -> Iterator[None]:
    """
    The zoo's commands read ``sys.argv``; of an option given twice, the last counts.

    :param command: for messages
    :param options: on the command line
    """
    before, sys.argv = sys.argv, [f"softac-zoo {command}", *options]
    try:
        yield
    finally:
        sys.argv = before


def last_of(options: Sequence[str], *names: str) -> str:
    """
    :param options: on the command line
    :param names: of one option
    :return: its value, as the zoo's own parser finds it, or "" where it is not given
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*names, dest="value", default="")
    return str(parser.parse_known_args(options)[0].value)


def run_function(command: str, function: Callable[[], None], options: list[str]) -> None:
    """
    :param command: for messages
    :param function: of the zoo
    :param options: on the command line; ``--algo`` is ours unless they say otherwise
    """
    with options_of(command, ["--algo", ALGO, *options]):
        function()


def run_script(command: str, module: ModuleType, options: list[str], **replaced: Any) -> None:
    """
    Run what a module does as a script, which cannot be called otherwise.

    :param command: for messages
    :param module: of the zoo
    :param options: on the command line
    :param replaced: names of the module that stand for something else meanwhile
    """
    original = {name: getattr(module, name) for name in replaced}
    blocks = [node for node in ast.parse(inspect.getsource(module)).body if _is_main_block(node)]
    if not blocks:
        raise RuntimeError(f"{module.__name__} is no script in this version of rl_zoo3")
    code = compile(ast.Module(blocks[0].body, []), str(module.__file__), "exec")
    vars(module).update(replaced)
    try:
        with options_of(command, ["--algo", ALGO, *options]):
            exec(code, dict(vars(module)))
    finally:
        vars(module).update(original)


def _is_main_block(node: ast.stmt) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and "__main__" in ast.dump(node.test)


def needs(extra: str, *modules: str) -> None:
    """
    :param extra: of this package that brings them
    :param modules: that a command imports
    :raises SystemExit: in one line, if one is missing
    """
    for name in modules:
        if importlib.util.find_spec(name) is None:
            raise SystemExit(f'{name} is not installed. This command needs: pip install "sac-ext[{extra}]"')
