import gc
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch as th

from sac_ext.execution import compiled
from tests.zoo_help import ENV, FAST

# Two OpenMP threads beside another busy process can be far slower than one.
th.set_num_threads(1)

# The same examples every time, however slow the machine. Our fixtures are the same for all examples.
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    max_examples=60,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(autouse=True, scope="session")
def _loggers_write_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """SB3's logger makes a folder for each model that learns, in the temporary folder of the system if not told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SB3_LOGDIR", str(tmp_path_factory.mktemp("loggers")))
        yield


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with logs/ of two short trainings by the zoo, as many as its plots need."""
    from sac_ext import zoo

    folder = tmp_path_factory.mktemp("zoo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluations = ["--eval-freq", "100", "--eval-episodes", "2"]
        for seed in ("0", "1"):
            zoo.main(["train", "--env", ENV, "-n", "400", *evaluations, "--seed", seed, "-params", *FAST])
    return folder


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, as the current one."""
    monkeypatch.chdir(trained)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return trained


@pytest.fixture
def leaves_environments_open() -> Iterator[None]:
    """As an error in the middle of a command does: their files are closed before warnings are errors again."""
    yield
    gc.collect()


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same graph, run operation by operation: seconds instead of many."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")


@pytest.fixture
def not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.Compiled, "_run", lambda self, batch, actor, target: self.update(batch, actor, target))
