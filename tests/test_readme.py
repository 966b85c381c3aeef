"""The README's Python runs, and its tables name every argument and default there is."""

import inspect
import re
from pathlib import Path

import pytest

from sac_ext import SoftAC

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_blocks_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(re.sub(r"learn\(\d[\d_]*\)", "learn(150)", block), {})


def test_every_new_argument_is_in_the_table() -> None:
    table = README.split("## New arguments")[1].split("\n## ")[0]
    for name, parameter in inspect.signature(SoftAC).parameters.items():
        if parameter.kind == inspect.Parameter.KEYWORD_ONLY:
            (row,) = [line for line in table.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
            default = row.split("|")[-2]
            expected = parameter.default if isinstance(parameter.default, str) else repr(parameter.default)
            resolved = {"ent_coef_bounds": "none on Box", "critic_reduction": "min on Box"}
            assert resolved.get(name, expected) in default, name
