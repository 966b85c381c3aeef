"""The Python in README and docs runs, and the tables name every argument and default there is."""

import inspect
import re
from pathlib import Path

import pytest

from sac_ext import SoftAC

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = {
    f"{page.name}-{number}": block
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL))
}


@pytest.mark.parametrize("name", BLOCKS)
def test_python_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(re.sub(r"learn\(\d[\d_]*\)", "learn(150)", BLOCKS[name]), {})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        if not target.startswith("http"):
            there = page.parent / target if target else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_new_argument_is_in_the_table() -> None:
    table = README.split("## New arguments")[1].split("\n## ")[0]
    for name, parameter in inspect.signature(SoftAC).parameters.items():
        if parameter.kind == inspect.Parameter.KEYWORD_ONLY:
            (row,) = [line for line in table.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
            default = row.split("|")[-2]
            expected = parameter.default if isinstance(parameter.default, str) else repr(parameter.default)
            resolved = {"ent_coef_bounds": "none on Box", "critic_reduction": "min on Box"}
            resolved["entropy_in_critic"] = "1 on Box"
            assert resolved.get(name, expected) in default, name
