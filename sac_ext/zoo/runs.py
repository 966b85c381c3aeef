"""The folders of what was trained."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from sac_ext.zoo.environments import named_in
from sac_ext.zoo.running import ALGO

LOG_FOLDER = "logs"


def folder_names(options: Sequence[str]) -> list[str]:
    """:return: options with environments as the zoo names their folders, ``MinAtar-Breakout-v1``"""
    names = named_in(options)
    return [option.replace("/", "-") if option.removeprefix("--env=") in names else option for option in options]


def check(options: Sequence[str], env_ids: Iterable[str]) -> None:
    """
    :param options: of a command that needs something trained
    :param env_ids: that they name
    :raises SystemExit: in one line, if nothing was trained in an environment
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-f", "--folder", "--exp-folder", "--exp-folders", dest="folders", nargs="+")
    parser.add_argument("-a", "--algo", "--algos", dest="algos", nargs="+")
    parser.add_argument("--exp-id")
    given = parser.parse_known_args(options)[0]
    if given.exp_id is not None:
        return  # whose folders have other names
    folders = [Path(folder, algo.lower()) for folder in given.folders or [LOG_FOLDER] for algo in given.algos or [ALGO]]
    for env_id in env_ids:
        (_, name) = folder_names(["--env", env_id])
        if not any(path.is_dir() for folder in folders for path in folder.glob(f"{name}_*")):
            raise SystemExit(
                f"nothing was trained in {env_id}, looking in {' and '.join(map(str, folders))}: train by "
                f"softac-zoo train --env {env_id}, or name the folder of its logs by -f"
            )
