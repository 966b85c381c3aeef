"""Folders of trained models."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

from sac_ext.zoo.options import environments_of, is_given, value_of, values_of, wants_help, with_folder_names
from sac_ext.zoo.running import ALGO

LOG_FOLDER = "logs"
_DEFAULT_ENV = "CartPole-v1"
"""The zoo's default."""
_SHOWN = 5
"""Number of existing models to name in a message."""


def check_any(options: Sequence[str]) -> None:
    """
    :param options: options of a command that plots training runs; they name environments, or parts of their names
    :raises SystemExit: with a one-line message, if they name none, or one in which nothing was trained
    """
    if wants_help(options):
        return
    env_ids = environments_of(options)
    if not env_ids:
        raise SystemExit("no environment is given: name one or more that were trained in, such as -e CartPole-v1")
    folders = values_of(options, "-f", "--exp-folder", "--exp-folders") or [LOG_FOLDER]
    algos = values_of(options, "-a", "--algo", "--algos") or [ALGO]
    places = [Path(folder, algo.lower()) for folder in folders for algo in algos]
    for env_id in env_ids:
        (_, name) = with_folder_names(["--env", env_id])
        if not any(path.is_dir() for place in places for path in place.glob(f"*{name}*")):
            raise SystemExit(_nothing_in(env_id, places))


def check_model(options: Sequence[str]) -> None:
    """
    :param options: options of a command that plays a model
    :raises SystemExit: with a one-line message that names existing models, if the one they ask for does not exist
    """
    from huggingface_sb3 import EnvironmentName
    from rl_zoo3.utils import get_model_path

    folder = value_of(options, "-f", "--folder") or LOG_FOLDER
    algo = value_of(options, "--algo") or ALGO
    exp_id = value_of(options, "--exp-id") or "0"
    if wants_help(options) or "rl-trained-agents" in folder or not exp_id.removeprefix("-").isdigit():
        return  # the zoo prints its help, downloads those agents, or refuses such an id
    env_id = (environments_of(options) or [_DEFAULT_ENV])[-1]
    name = EnvironmentName(env_id)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            get_model_path(
                int(exp_id),
                folder,
                algo,
                name,
                load_best=is_given(options, "--load-best"),
                load_checkpoint=value_of(options, "--load-checkpoint") or None,
                load_last_checkpoint=is_given(options, "--load-last-checkpoint"),
            )
    except (AssertionError, ValueError) as error:
        place = Path(folder, algo)
        files = [path for path in place.glob(f"{name}_*/*.zip") if path.parent.name.removeprefix(f"{name}_").isdigit()]
        if not files:
            raise SystemExit(_nothing_in(env_id, [place])) from error
        newest = sorted(files, key=lambda path: path.stat().st_mtime, reverse=True)[:_SHOWN]
        raise SystemExit(
            f"{error}. Choose with --exp-id, --load-best or --load-checkpoint from {', '.join(map(str, newest))}"
        ) from error


def _nothing_in(env_id: str, places: Sequence[Path]) -> str:
    return (
        f"nothing trained in {env_id} was found in {' and '.join(map(str, places))}: train with "
        f"softac-zoo train --env {env_id}, or name the log folder with -f"
    )
