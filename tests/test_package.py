"""What is installed is what the repository says."""

import importlib
import re
import subprocess
import sys
import venv
import zipfile
from importlib import metadata, resources
from pathlib import Path

import pytest

import sac_ext

ROOT = Path(__file__).parent.parent


def test_version_is_the_distributions() -> None:
    assert sac_ext.__version__ == metadata.version("sac-ext")
    assert f"## {sac_ext.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_exports_exist() -> None:
    for name in sac_ext.__all__:
        assert hasattr(sac_ext, name), name


def test_typed_and_with_configurations() -> None:
    assert (resources.files("sac_ext") / "py.typed").is_file()
    assert (resources.files("sac_ext.zoo_configs") / "softac.yml").is_file()


def test_tuning_and_configurations_install_inside_the_package() -> None:
    for name in ("tuning", "zoo_configs"):
        module = importlib.import_module(f"sac_ext.{name}")
        assert module.__name__ == f"sac_ext.{name}"


@pytest.mark.slow
def test_wheel_and_sdist_build_and_install_clean(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "build", "--outdir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    names = zipfile.ZipFile(wheel).namelist()
    for expected in (
        "sac_ext/py.typed",
        "sac_ext/tuning/spaces/box.yml",
        "sac_ext/zoo/cli.py",
        "sac_ext/zoo_configs/softac.yml",
    ):
        assert expected in names
    assert {name.split("/")[0] for name in names} == {"sac_ext", f"sac_ext-{sac_ext.__version__}.dist-info"}
    for number, artefact in enumerate((wheel, sdist)):
        environment = tmp_path / f"venv{number}"
        venv.create(environment, with_pip=True, system_site_packages=False)
        python = environment / "bin" / "python"
        with_zoo = f"{artefact}[zoo]" if artefact == wheel else str(artefact)
        install = [python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", with_zoo]
        subprocess.run(install, check=True, cwd=tmp_path, capture_output=True)
        script = (
            "from importlib.resources import files; from sac_ext import SoftAC; import gymnasium as gym;"
            "assert (files('sac_ext.zoo_configs') / 'softac.yml').is_file();"
            "SoftAC('MlpPolicy', 'CartPole-v1', learning_starts=10).learn(20)"
        )
        subprocess.run([python, "-W", "ignore", "-c", script], check=True, cwd=tmp_path)
    zoo, options = tmp_path / "venv0" / "bin" / "softac-zoo", ["--env", "CartPole-v1", "--num-threads", "1"]
    subprocess.run([zoo, "train", *options, "-n", "150"], check=True, cwd=tmp_path, capture_output=True)
    played = subprocess.run([zoo, "enjoy", *options, "--no-render", "-n", "200"], cwd=tmp_path, capture_output=True)
    assert b"Mean reward" in played.stdout, played.stderr


def test_dependencies_are_ranges_and_the_constraints_lie_inside() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if match := re.match(r"([\w.-]+)==([\w.+-]+)", line):
            pinned[canonicalize_name(match[1])] = match[2]
    for text in metadata.requires("sac-ext") or []:
        requirement = Requirement(text)
        if requirement.marker is None:
            assert requirement.specifier, f"{text} has no range"
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is None or requirement.specifier.contains(version), text
