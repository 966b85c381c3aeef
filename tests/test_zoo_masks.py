"""Action masks in every command that trains or plays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("rl_zoo3")

from sac_ext import SoftAC, zoo
from tests.catalogue import MaskedEnv
from tests.zoo_help import FAST

pytestmark = pytest.mark.filterwarnings("ignore")  # of the zoo's own code


class SeenMaskedEnv(MaskedEnv):
    """That can be recorded."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.render_mode = render_mode

    def render(self) -> np.ndarray:
        return np.zeros((32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def trained_within_masks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("masked")
    gym.register("Masked-v0", SeenMaskedEnv, kwargs={"actions": "discrete"})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ["-n", "120", "--eval-freq", "60", "--eval-episodes", "2"]
        zoo.main(["train", "--env", "Masked-v0", *options, "-params", WITHIN_MASKS, *FAST])
    yield folder
    gym.registry.pop("Masked-v0")


WITHIN_MASKS = "env_wrapper:'sac_ext.ActionMasksInInfo'"


@pytest.mark.parametrize(
    "command",
    [
        ["enjoy", "--no-render", "-n", "100"],
        ["enjoy", "--no-render", "-n", "100", "--n-envs", "2", "--stochastic"],
        ["record_video", "-n", "50"],
        ["train", "-n", "60", "-optimize", "--n-trials", "1", "--n-evaluations", "1", "-params", WITHIN_MASKS, *FAST],
    ],
    ids=lambda command: " ".join(command[:6]),
)
def test_commands_keep_to_action_masks(
    trained_within_masks: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """These environments refuse other actions."""
    monkeypatch.chdir(trained_within_masks)
    zoo.main([command[0], "--env", "Masked-v0", *command[1:]])
    files = [*trained_within_masks.glob("logs/softac/Masked-v0_1/*.zip")]
    assert {file.stem for file in files} == {"best_model", "Masked-v0"}
    for file in files:
        assert SoftAC.load(file, buffer_size=1000).head.mask_sizes == (4,)
