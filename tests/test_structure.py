"""Which file may know of which, and what it may name."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sac_ext"

PAGE = (PACKAGE.parent / "docs" / "architecture.md").read_text()
PICTURE = PAGE.split("```")[1]
IMPORTS = {file: set(imported.split()) for file, imported in re.findall(r"^(\S+) +──>(.*)$", PICTURE, re.MULTILINE)}


def name_of(path: Path) -> str:
    """A file's name in the picture: its own, or that of its folder and its own."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).replace(".__init__", "")


FILES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imported_by(path: Path) -> set[str]:
    """Names of the package's files that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.module in (
                "sac_ext",
                "sac_ext.buffers",
                "sac_ext.execution",
                "sac_ext.heads",
                "sac_ext.entropy",
                "sac_ext.zoo",
            ):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                assert node.level == 0, f"relative import in {path}"
                names = [node.module or ""]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "sac_ext" and not rest.startswith("tuning"):  # a package of its own, above this one
                folder = rest.rpartition(".")[0]
                found.add(rest if rest in FILES else folder if folder in FILES else "__init__")
    return found


def test_the_picture_and_the_table_have_every_file() -> None:
    assert set(FILES) == set(IMPORTS)
    subjects = PAGE.split("| file | subject |")[1]
    assert all(f"`{file}`" in subjects for file in set(IMPORTS) - {"__init__"})


def test_imports_have_no_cycle() -> None:
    graphlib.TopologicalSorter(IMPORTS).prepare()


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_are_those_of_the_picture(module: str) -> None:
    assert imported_by(FILES[module]) == IMPORTS[module]


@pytest.mark.parametrize("module", [name for name in IMPORTS if not name.startswith("heads")])
def test_only_heads_names_action_spaces(module: str) -> None:
    tree = ast.parse(FILES[module].read_text())
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    named |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not named & {"Box", "Discrete", "MultiDiscrete", "MultiBinary"}


def test_losses_import_torch_only() -> None:
    tree = ast.parse((PACKAGE / "losses.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert modules == {"collections.abc", "torch", "torch.nn"}


def test_importing_the_package_does_not_import_the_zoo() -> None:
    script = "import sys, sac_ext; sys.exit(any(name in sys.modules for name in ('rl_zoo3', 'optuna', 'sac_ext.zoo')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


TUNING = {path.stem: path for path in (PACKAGE.parent / "tuning").glob("*.py")}


def imported_in_tuning(path: Path) -> set[str]:
    """Names of the files beside it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module} if node.module else {alias.name for alias in node.names}
    return found


def test_imports_in_tuning_have_no_cycle() -> None:
    graph = {name: imported_in_tuning(path) for name, path in TUNING.items()}
    assert set().union(*graph.values()) <= set(TUNING)
    graphlib.TopologicalSorter(graph).prepare()


def test_what_scores_arguments_knows_nothing_of_optuna() -> None:
    reached, todo = set(), {"evaluate"}
    while todo:
        name = todo.pop()
        reached.add(name)
        todo |= imported_in_tuning(TUNING[name]) - reached
    assert not [name for name in reached if "optuna" in TUNING[name].read_text()]
