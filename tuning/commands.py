"""The short commands: ``worker``, ``status``, ``best``, ``export``, ``reap``, ``repair``, ``dashboard``."""

import argparse
import os
import socket
import sys
import warnings
import zlib
from pathlib import Path

import optuna
import torch as th
from optuna.trial import TrialState

from .crew import TOO_MANY_FAILURES
from .entries import arguments_of, load_entry, write_entry
from .interrupts import Interrupts
from .journal import Owner, repair_journal
from .places import add_place_options, place_of
from .report import status_lines, trial_line
from .settings import Settings, settings_of
from .storage import is_url, open_storage
from .trials import AS_IS, Book, book_of, fail, reap, requeue, requeue_lost
from .tune import add_limit_options, check_limits, wanted_trials
from .worker import Limits, TooManyFailures, load_study, work


def opened(options: argparse.Namespace) -> optuna.Study:
    """
    Open the study that the options name.

    :param options: options that say which study
    :return: the study
    :raises ValueError: if there is no such study
    """
    place = place_of(options)
    return load_study(open_storage(place.storage), place.study)


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """
    Define the options of ``worker``.

    :param parser: parser of ``worker``
    """
    add_place_options(parser)
    add_limit_options(parser)
    parser.add_argument(
        "--index", type=int, default=os.getpid(), help="number that makes its proposals differ from other workers'"
    )
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)


def run_worker(options: argparse.Namespace) -> int:
    """
    Run trials of an existing study, until it has as many as are wanted.

    :param options: command-line options
    :return: exit status
    """
    check_limits(options)
    th.set_num_threads(options.threads)
    interrupts = Interrupts(options.deadline, options.parent)
    interrupts.catch_signals(abort_at_second=True)
    place = place_of(options)
    study = load_study(open_storage(place.storage, heartbeat=options.heartbeat), place.study)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    trials = wanted_trials(study) if options.trials is None else options.trials
    index = options.index
    if is_url(place.storage):  # workers on other machines may have the same index
        index = zlib.crc32(f"{socket.gethostname()} {os.getppid()} {index}".encode())
    try:
        work(study, Limits(trials, options.max_failures), interrupts, index, options.device)
    except TooManyFailures as error:
        print(error)
        return TOO_MANY_FAILURES
    if interrupts.reason is not None:
        print(f"Stopped: {interrupts.reason}")
    return 0


def run_status(options: argparse.Namespace) -> int:
    """
    Print the progress of a study.

    :param options: command-line options
    :return: exit status
    """
    print("\n".join(status_lines(opened(options))))
    return 0


def add_best_options(parser: argparse.ArgumentParser) -> None:
    """
    Define the options of ``best``.

    :param parser: parser of ``best``
    """
    add_place_options(parser)
    parser.add_argument("--top", type=int, default=1, help="number of trials to print; default: 1")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the best trial as a zoo configuration")
    parser.add_argument("--trial", type=int, help="this trial instead of the best")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def run_best(options: argparse.Namespace) -> int:
    """
    Print the best trials as zoo entries, or write one to a file.

    :param options: command-line options
    :return: exit status
    :raises ValueError: if there is no such trial, or the file exists
    """
    if options.top < 1:
        raise ValueError(f"--top must be at least 1, got {options.top}")
    study = opened(options)
    settings, book = settings_of(study), book_of(study)
    trials = book.best(options.top)
    if options.trial is not None:
        trials = [trial for trial in book.complete if trial.number == options.trial]
    if not trials:
        found = "No trial is complete yet" if options.trial is None else f"Trial {options.trial} is no complete trial"
        raise ValueError(f"{found}; see `softac-tune status` and `softac-tune export`")
    texts = [entry_text(settings, book, trial, study.study_name) for trial in trials]
    if options.output is None:
        print("\n".join(texts), end="")
        return 0
    path = Path(options.output)
    if len(texts) > 1:
        raise ValueError("-o writes one entry: leave --top out, or choose a trial with --trial")
    if not path.parent.is_dir():
        raise ValueError(f"There is no folder {path.parent}")
    if path.exists() and not options.force:
        raise ValueError(f"{path} exists: choose another file, or replace it with --force")
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(texts[0])
    temporary.replace(path)
    arguments_of(load_entry(path, settings.env.name))
    module = settings.env.env_id.rpartition(":")[0]
    packages = f" --gym-packages {module}" if module else ""
    print(f"Wrote {path}. Train with it: softac-zoo train --env {settings.env.name} --conf-file {path}{packages}")
    return 0


def entry_text(settings: Settings, book: Book, trial: optuna.trial.FrozenTrial, study_name: str) -> str:
    """
    Write a trial as an entry of rl-baselines3-zoo, with its score and the baseline's as a comment.

    :param settings: settings of the study
    :param book: trials of the study
    :param trial: the trial to write
    :param study_name: name of the study, for the comment
    :return: a zoo entry as YAML
    """
    entry = {**settings.entry, "n_timesteps": settings.protocol.steps}
    entry |= {"policy": entry.get("policy", "MlpPolicy")}
    if settings.env.env_kwargs:
        entry["env_kwargs"] = settings.env.env_kwargs
    if not trial.user_attrs.get(AS_IS):
        base = settings.base()
        changed = settings.parsed_space().arguments(trial.params, base)
        entry |= {name: value for name, value in changed.items() if value != base.get(name)}
        for name in base.keys() - changed.keys():  # arguments of choices that the trial did not take
            entry.pop(name, None)
    comment = f"Study {study_name}: {trial_line(trial)}, of {len(book.complete)} complete trials."
    if book.baseline is not None:
        comment += f"\nBaseline: {trial_line(book.baseline)}."
    return write_entry(entry, settings.env.name, comment)


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """
    Define the options of ``export``.

    :param parser: parser of ``export``
    """
    add_place_options(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="CSV file; default: trials.csv in the study's folder")


def run_export(options: argparse.Namespace) -> int:
    """
    Write all trials as CSV.

    :param options: command-line options
    :return: exit status
    """
    study, place = opened(options), place_of(options)
    path = Path(options.output) if options.output is not None else place.folder / "trials.csv"
    void = {trial.number for trial in book_of(study).void}
    frame = study.trials_dataframe()
    frame.insert(1, "counts", [number not in void for number in frame["number"]])
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
    print(f"Wrote {path}")
    return 0


def add_reap_options(parser: argparse.ArgumentParser) -> None:
    """
    Define the options of ``reap``.

    :param parser: parser of ``reap``
    """
    add_place_options(parser)
    parser.add_argument(
        "--trial", type=int, nargs="+", help="also repeat these running trials, even if their process may be alive"
    )


def run_reap(options: argparse.Namespace) -> int:
    """
    Fail the running trials whose process is gone, and enqueue them again.

    :param options: command-line options
    :return: exit status
    :raises ValueError: if one of ``--trial`` is not running
    """
    study = opened(options)
    running = {trial.number for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))}
    found = []
    for number in options.trial or ():
        if number not in running:
            raise ValueError(
                f"Trial {number} is not running. Running: {', '.join(map(str, sorted(running))) or 'none'}"
            )
        if fail(study, number):
            requeue(study, number)
            found.append(number)
    found += reap(study) + requeue_lost(study)
    print(f"Enqueued again: {', '.join(map(str, sorted(found))) or 'none'}")
    return 0


def run_repair(options: argparse.Namespace) -> int:
    """
    Remove broken lines from a journal.

    :param options: command-line options
    :return: exit status
    :raises ValueError: for a database, which needs no repair
    """
    place = place_of(options)
    if is_url(place.storage):
        raise ValueError("repair is for journal files only: databases do not need it")
    path = Path(place.storage)
    if not path.exists():
        raise ValueError(f"There is no journal {str(path)!r}")
    owner = Owner(path)
    owner.take(place.study)
    try:
        copy = repair_journal(path)
    finally:
        owner.release()
    print("Nothing is broken." if copy is None else f"Removed the broken lines; the original file is kept as {copy}")
    return 0


def run_dashboard(options: argparse.Namespace) -> int:
    """
    Replace this process by optuna-dashboard, run on the study's storage.

    :param options: command-line options
    :return: never, since the process is replaced
    :raises ValueError: if it is not installed
    """
    place = place_of(options)
    open_storage(place.storage)
    beside = Path(sys.executable).with_name("optuna-dashboard")
    try:
        os.execvp(str(beside) if beside.exists() else "optuna-dashboard", ["optuna-dashboard", place.storage])
    except OSError as error:
        raise ValueError('optuna-dashboard is not installed: pip install "sac-ext[tuning]"') from error
