"""Where a study and its files are kept: defaults, and the options that change them."""

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = "tuning-logs"
STORAGE_VARIABLE = "SOFTAC_TUNE_STORAGE"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class Place:
    """
    A study's name, storage, and folder for files.

    :param study: name of the study
    :param storage: path of a journal, or URL of a database
    :param folder: for plots, reports and the workers' output
    """

    study: str
    storage: str
    folder: Path


def add_place_options(parser: argparse.ArgumentParser) -> None:
    """
    Define the options that say where a study is.

    :param parser: gets ``--study``, ``--storage`` and ``--log-folder``
    """
    parser.add_argument("--study", metavar="NAME", help="name of the study; default: softac-ENV, or the only study")
    parser.add_argument(
        "--storage",
        metavar="PATH|URL",
        help=f"journal file, or a database such as postgresql+psycopg2://user@host/db; default: ${STORAGE_VARIABLE}, "
        "or journal.log in the study's folder",
    )
    parser.add_argument(
        "-f", "--log-folder", metavar="PATH", default=FOLDER, help=f"folder of studies; default: {FOLDER}"
    )


def place_of(options: argparse.Namespace) -> Place:
    """
    Find out which study is meant, and where it is kept.

    :param options: options of :func:`add_place_options`, and ``env`` if the command has it
    :return: place of the study
    :raises ValueError: if the options do not say which study is meant
    """
    folder = Path(options.log_folder)
    name = options.study
    if name is None and getattr(options, "env", None) is not None:
        name = "softac-" + re.sub(r"[^\w.-]", "-", options.env)
    if name is None:
        found = sorted(path.parent.name for path in folder.glob("*/journal.log"))
        if len(found) != 1:
            there = f"; existing studies: {', '.join(found)}" if found else ""
            raise ValueError(f"Choose a study with --study NAME{there}")
        name = found[0]
    if not name or "/" in name or name.startswith("."):
        raise ValueError(f"study must be a non-empty name without '/' that does not start with '.', got {name!r}")
    storage = options.storage or os.environ.get(STORAGE_VARIABLE) or str(folder / name / "journal.log")
    return Place(name, storage, folder / name)


def parse_duration(text: str) -> float:
    """
    Read a duration.

    :param text: ``90``, ``90s``, ``30m``, ``1h30m``
    :return: seconds
    :raises ValueError: for anything else
    """
    if re.fullmatch(r"\d+(\.\d+)?", text):
        seconds = float(text)
    elif re.fullmatch(r"(\d+(\.\d+)?[smhd])+", text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", text))
    else:
        raise ValueError(f"timeout must be a duration such as 90s, 30m or 1h30m, got {text!r}")
    if seconds <= 0:
        raise ValueError(f"timeout must be positive, got {text!r}")
    return seconds
