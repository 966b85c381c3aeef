"""Which file may know of which, and what the gradient step must not do."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "sac_ext"

# file -> the files of the package it may import; the picture in the README shows the same
IMPORTS = {
    "arguments": set(),
    "losses": set(),
    "networks": set(),
    "finite": set(),
    "heads": {"networks"},
    "policies": {"heads"},
    "entropy": {"arguments"},
    "temperature": {"arguments", "entropy", "heads"},
    "update": {"heads", "losses"},
    "execution": {"update"},
    "soft_ac": {
        "arguments",
        "entropy",
        "execution",
        "finite",
        "heads",
        "policies",
        "temperature",
        "update",
    },
    "__init__": {"entropy", "policies", "soft_ac"},
    "zoo": {"__init__"},
}


def imported_by(path: Path) -> set[str]:
    """Names of the package's files that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.module == "sac_ext":
                names = [f"sac_ext.{alias.name}" for alias in node.names]
            else:
                assert node.level == 0, f"relative import in {path}"
                names = [node.module or ""]
        else:
            continue
        for name in names:
            head, _, rest = name.partition(".")
            if head == "sac_ext":
                module = rest.split(".")[0]
                found.add(module if (PACKAGE / f"{module}.py").exists() else "__init__")
    return found


def test_every_file_is_listed() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == set(IMPORTS)


@pytest.mark.parametrize("module", IMPORTS)
def test_imports_go_one_way(module: str) -> None:
    assert imported_by(PACKAGE / f"{module}.py") <= IMPORTS[module]


@pytest.mark.parametrize("module", [name for name in IMPORTS if name != "heads"])
def test_only_heads_names_action_spaces(module: str) -> None:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not named & {"Box", "Discrete", "MultiDiscrete", "MultiBinary"}


@pytest.mark.parametrize("module", ["losses", "update", "heads", "networks"])
def test_the_step_does_not_wait_for_the_device(module: str) -> None:
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    called = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not called & {"item", "cpu", "numpy", "tolist", "nonzero"}


def test_losses_import_torch_only() -> None:
    tree = ast.parse((PACKAGE / "losses.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert modules == {"functools", "torch", "torch.nn"}


def test_importing_the_package_does_not_import_the_zoo() -> None:
    script = "import sys, sac_ext; sys.exit(any(name in sys.modules for name in ('rl_zoo3', 'optuna', 'sac_ext.zoo')))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
