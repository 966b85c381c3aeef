from collections.abc import Iterator

import hypothesis
import pytest
import torch as th

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
