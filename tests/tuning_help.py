"""What the tests of tuning share: small studies, and the command line as users call it."""

import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from sac_ext.tuning.interrupts import Interrupts
from sac_ext.tuning.parameters import Space
from sac_ext.tuning.settings import Settings
from sac_ext.tuning.space import parse_space
from sac_ext.tuning.storage import open_storage
from sac_ext.tuning.study import Asked, create_or_resume, settings_from
from sac_ext.tuning.trials import RETRY_OF, Book, book_of
from sac_ext.tuning.worker import Limits, load_study, work

ROOT = Path(__file__).parent.parent
ENV = "tests.toy:Toy-v0"
NAME = "toy"
HYPERPARAMS = {"learning_starts": 10, "batch_size": 8, "policy_kwargs": "dict(net_arch=[8])", "buffer_size": 100}
ASKED = Asked(env=ENV, hyperparams=HYPERPARAMS, steps=20, evaluations=2, episodes=2)
OPTIONS = [
    *("--env", ENV, "--study", NAME, "--steps", "20", "--evaluations", "2", "--episodes", "2"),
    *("-params", *(f"{key}:{value}" for key, value in HYPERPARAMS.items())),
]


def settings(**changes: Any) -> Settings:
    return settings_from(replace(ASKED, **changes), None)


def journal(folder: Path) -> str:
    return str(folder / "tuning-logs" / NAME / "journal.log")


def new_study(folder: Path, **changes: Any) -> optuna.Study:
    """With its baseline waiting."""
    storage = open_storage(journal(folder), create=True)
    create_or_resume(storage, NAME, settings(**changes))
    return load_study(storage, NAME)


def opened(folder: Path) -> optuna.Study:
    """As another process finds it."""
    return load_study(open_storage(journal(folder)), NAME)


def run_trials(study: optuna.Study, trials: int, interrupts: Interrupts | None = None, **limits: Any) -> Book:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", message="ent_coef is held")
        work(study, Limits(trials, **limits), interrupts or Interrupts(), once=True)
    return book_of(study)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sac_ext.tuning", *arguments]


def environment(paths: Sequence[str] = ()) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, str(ROOT)]), "OMP_NUM_THREADS": "1"}


def start(folder: Path, *arguments: str, paths: Sequence[str] = ()) -> "subprocess.Popen[str]":
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command(*arguments), cwd=folder, env=environment(paths), **pipes)


def call(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


def assert_nothing_lost(book: Book, trials: int) -> None:
    """Each wanted trial counts once, whatever was done again, and none of its kind twice."""
    assert len(book.finished) == len(book.counted) == trials
    originals = [trial for trial in book.all if RETRY_OF not in trial.user_attrs]
    lasts = {trial.number for trial in book.finished}
    for trial in originals:
        chain = [trial]
        while True:
            following = [t for t in book.all if t.user_attrs.get(RETRY_OF) == chain[-1].number and t not in book.void]
            later = [t for t in book.all if t.user_attrs.get(RETRY_OF) == chain[-1].number]
            if not later:
                break
            chain.append((following or later)[0])
        if chain[-1].number in lasts:
            lasts.remove(chain[-1].number)
            if trial.params:
                assert trial.params.items() <= chain[-1].params.items()
        else:
            assert "surplus" in chain[-1].user_attrs
    assert not lasts
    best = max((trial.value for trial in book.complete), default=None)
    assert best is None or book.best()[0].value == best


def parsed(*tune: str, **items: Any) -> Space:
    return parse_space(items, "file.yml", tune)
