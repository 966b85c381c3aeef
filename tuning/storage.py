"""Where studies are kept: journal files, or databases by their URL."""

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage

from .journal import open_backend, repair_journal
from .trials import requeue

HEARTBEAT_SECONDS = 60
GRACE_PERIODS = 3
_CONNECT_SECONDS = 5


def is_url(storage: str) -> bool:
    """:return: whether this is a database rather than a file"""
    return "://" in storage


def shown(storage: str) -> str:
    """:return: path or URL as it may be printed, without a password"""
    if not is_url(storage):
        return storage
    from sqlalchemy.engine import make_url

    return make_url(storage).render_as_string(hide_password=True)


def open_storage(storage: str, create: bool = False, heartbeat: int = HEARTBEAT_SECONDS) -> BaseStorage:
    """
    Open the journal or database that studies are in.

    :param storage: path of a journal, or URL of a database
    :param create: whether it is created if it does not exist
    :param heartbeat: seconds between the heartbeats of a running trial, in databases; a trial that has sent none for
        three times as long counts as lost
    :return: the storage
    :raises ValueError: if it cannot be opened
    """
    if is_url(storage):
        return _open_database(storage, create, heartbeat)
    path = Path(storage)
    if not path.exists():
        if not create:
            near = sorted(str(each) for each in path.parent.parent.glob("*/journal.log"))[:5]
            raise ValueError(
                f"There is no journal {storage!r}." + (f" Existing journals: {', '.join(near)}" if near else "")
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"Cannot create the folder {path.parent}: {error}") from error
    try:
        if path.exists() and create:
            copy = repair_journal(path)
            if copy is not None:
                print(f"{path} had broken lines, which were removed; the original file is kept as {copy}")
        return JournalStorage(open_backend(path))
    # what Optuna may raise when it reads a file that is not a journal
    except (OSError, ValueError, KeyError, AttributeError, AssertionError) as error:
        raise ValueError(
            f"Cannot open the journal {storage!r}: {error}. If it is a journal with broken lines, `softac-tune repair` "
            "removes them"
        ) from error


def _open_database(url: str, create: bool, heartbeat: int) -> RDBStorage:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        dialect = make_url(url).get_backend_name()
    except (ArgumentError, ValueError) as error:  # a ValueError for an invalid port
        raise ValueError(f"{url!r} is not a database URL such as postgresql+psycopg2://user@host/database") from error
    options: dict[str, Any] = {}
    if dialect == "sqlite" and not create:
        file = make_url(url).database
        if file and file != ":memory:" and not Path(file).exists():
            raise ValueError(f"There is no database {file!r}")
    if dialect in ("postgresql", "mysql"):
        options["connect_args"] = {"connect_timeout": _CONNECT_SECONDS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # about the heartbeat
        try:
            return RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=heartbeat,
                grace_period=GRACE_PERIODS * heartbeat,
                heartbeat_stale_trial_callback=lambda study, trial: requeue(study, trial.number),
            )
        except ImportError as error:
            raise ValueError(
                f"{error}. The driver in {shown(url)} is a separate package (PostgreSQL: pip install psycopg2-binary)"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            raise ValueError(f"Cannot reach {shown(url)}: {str(error).splitlines()[0]}") from error
