"""push_to_hub and load_from_hub, with a folder instead of the hub."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rl_zoo3")

from sac_ext import SoftAC, zoo
from sac_ext.zoo import hub
from tests.zoo_help import ENV

pytestmark = pytest.mark.filterwarnings("ignore")  # of the zoo's own code


class Hub:
    """What would go to the hub stays in a folder."""

    def __init__(self) -> None:
        self.uploads: list[Path] = []

    def create_repo(self, **_: Any) -> str:
        return "the hub"

    def snapshot_download(self, *, local_dir: Path, **_: Any) -> None:
        local_dir.mkdir(parents=True, exist_ok=True)

    def upload_folder(self, *, folder_path: Path, **_: Any) -> None:
        self.uploads.append(folder_path)


def test_errors_of_the_hub_are_one_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUST_REMOTE_CODE", "True")
    from huggingface_hub.errors import OfflineModeIsEnabled

    hub._name_what_was_renamed()  # before the module that lacks it is imported

    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise OfflineModeIsEnabled("Cannot reach\nthe hub")

    import rl_zoo3.load_from_hub
    import rl_zoo3.push_to_hub

    monkeypatch.setattr(rl_zoo3.load_from_hub, "load_from_hub", unreachable)
    monkeypatch.setattr(rl_zoo3.push_to_hub, "HfApi", unreachable)
    for command in (["load_from_hub", "-f", "loaded"], ["push_to_hub", "--no-render"]):
        with pytest.raises(SystemExit, match=r"^The Hugging Face hub: Cannot reach the hub$"):
            zoo.main([*command, "--env", ENV, "-orga", "us"])


def test_push_to_hub_and_back(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import EntryNotFoundError

    hub._name_what_was_renamed()  # before the module that lacks it is imported
    import rl_zoo3.load_from_hub
    import rl_zoo3.push_to_hub

    there = Hub()
    monkeypatch.setattr(rl_zoo3.push_to_hub, "HfApi", lambda: there)
    zoo.main(["push_to_hub", "--env", ENV, "-orga", "us", "--no-render"])
    (folder,) = there.uploads
    card = (folder / "README.md").read_text()
    assert f"softac-zoo load_from_hub --env {ENV} -orga us" in card
    assert "rl_zoo3.enjoy" not in card
    assert "SoftAC" in card.split("---")[1]  # the metadata
    assert (folder / f"softac-{ENV}.zip").exists()

    def download(_: Any, name: str) -> str:
        if not (folder / name).exists():
            raise EntryNotFoundError(name)
        return str(folder / name)

    monkeypatch.setattr(rl_zoo3.load_from_hub, "load_from_hub", download)
    with pytest.raises(SystemExit, match="TRUST_REMOTE_CODE=True"):
        zoo.main(["load_from_hub", "--env", ENV, "-orga", "us", "-f", "loaded"])
    monkeypatch.setenv("TRUST_REMOTE_CODE", "True")
    zoo.main(["load_from_hub", "--env", ENV, "-orga", "us", "-f", "loaded"])
    (model,) = (here / "loaded" / "softac").glob(f"*/{ENV}.zip")
    loaded = SoftAC.load(model)
    assert loaded.num_timesteps == 400
    assert loaded.buffer_size == 1000


@pytest.mark.parametrize("env_kwargs", [{}, {"g": 5.0}])
def test_a_card_has_the_arguments_of_the_environment(env_kwargs: dict[str, Any]) -> None:
    hub._name_what_was_renamed()
    card, _ = hub.model_card("softac", "SoftAC", "us", "Pendulum-v1", -150.0, 10.0, {"tau": 0.1}, env_kwargs)
    assert ("## Arguments of the environment" in card) == ("{'g': 5.0}" in card) == bool(env_kwargs)
