"""Running the zoo's own commands with other options, and with some of their functions replaced."""

import ast
import importlib.util
import inspect
import os
import shutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeGuard

from sac_ext.zoo.options import on_the_command_line

ALGO = "softac"
"""What SoftAC is called in the zoo's tables."""


def run_function(command: str, function: Callable[[], None], options: list[str]) -> None:
    """
    :param command: name of the command, for messages
    :param function: function of the zoo to run
    :param options: command-line options; ``--algo`` is ours unless they say otherwise
    """
    with on_the_command_line(command, ["--algo", ALGO, *options]):
        function()


def run_script(command: str, module: ModuleType, options: list[str], **replaced: Any) -> None:
    """
    Run the main block of a module, which cannot be called otherwise.

    :param command: name of the command, for messages
    :param module: module of the zoo
    :param options: command-line options
    :param replaced: names of the module, with what replaces them meanwhile
    """
    original = {name: getattr(module, name) for name in replaced}
    blocks = [node for node in ast.parse(inspect.getsource(module)).body if _is_main_block(node)]
    if not blocks:
        raise RuntimeError(f"{module.__name__} cannot be run as a script in this version of rl_zoo3")
    code = compile(ast.Module(blocks[0].body, []), str(module.__file__), "exec")
    vars(module).update(replaced)
    try:
        with on_the_command_line(command, ["--algo", ALGO, *options]):
            exec(code, dict(vars(module)))
    finally:
        vars(module).update(original)


def _is_main_block(node: ast.stmt) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and "__main__" in ast.dump(node.test)


def this_program() -> list[str]:
    """:return: what starts ``softac-zoo`` with this Python; in a checkout, ``-m`` would take the package there"""
    script = shutil.which("softac-zoo", path=os.path.dirname(sys.executable))
    return [sys.executable, "-m", "sac_ext.zoo"] if script is None else [script]


def in_one_line(error: Exception) -> str:
    """:return: the message of an error, in one line"""
    return " ".join(str(error).split())


def needs(extra: str, *modules: str) -> None:
    """
    :param extra: extra of this package that installs them
    :param modules: modules that a command imports
    :raises SystemExit: with a one-line message, if one is missing
    """
    for name in modules:
        if importlib.util.find_spec(name) is None:
            raise SystemExit(f'{name} is not installed. This command needs: pip install "sac-ext[{extra}]"')
