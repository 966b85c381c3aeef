"""Journals and processes that are killed: nothing is lost, nothing counts twice."""

import json
import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from sac_ext.tuning.journal import JournalLock, Owner, open_backend, repair_journal
from sac_ext.tuning.storage import open_storage
from sac_ext.tuning.trials import book_of, fail, requeue
from tests.tuning_help import NAME, OPTIONS, assert_nothing_lost, call, journal, new_study, opened, run_trials, start

# ---------------------------------------------------------------- journals


def written(folder: Path) -> Path:
    run_trials(new_study(folder), 2)
    return Path(journal(folder))


def test_what_a_killed_writer_left_is_cut_off_by_the_next_one(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = path.read_bytes()
    torn = whole.splitlines()[-1][:20]
    path.write_bytes(whole + torn)
    assert_nothing_lost(run_trials(opened(tmp_path), 3), 3)
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in path.read_text().splitlines())
    assert path.with_suffix(".torn").read_bytes() == torn + b"\n"


def test_lines_that_are_glued_together_are_taken_out_and_kept_beside(tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    broken = b"".join([*lines[:-1], lines[-1][:15], lines[-1]])
    path.write_bytes(broken)
    copy = repair_journal(path)
    assert copy is not None
    assert copy.read_bytes() == broken
    assert path.read_bytes() == b"".join(lines[:-1])
    assert repair_journal(path) is None
    opened(tmp_path)


@given(st.lists(st.sampled_from([b'{"op_code":1}\n', b'{"op', b"[1]\n", b"\n", b"\xff\n", b'{"a":{}}\n'])))
def test_repairing_leaves_whole_entries_alone(tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("journal") / "journal.log"
    path.write_bytes(b"".join(pieces))
    content = path.read_bytes()
    before = content[: content.rfind(b"\n") + 1]  # whoever takes the lock cuts the rest off
    copy = repair_journal(path)
    after = path.read_bytes()
    lines = after.splitlines(keepends=True)
    assert all(line.endswith(b"\n") and isinstance(json.loads(line), dict) for line in lines)
    assert [line for line in before.splitlines(keepends=True) if line in lines] == lines
    assert (copy is None) == (before == after)


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = str(tmp_path / "journal.log")
    open_backend(Path(path))
    pid = os.fork()
    if pid == 0:
        JournalLock(path).acquire()
        os._exit(0)  # as by kill -9: nothing is released
    os.waitpid(pid, 0)
    assert os.path.lexists(path + ".lock")
    lock = JournalLock(path)
    lock._inner.grace_period = 3
    assert lock.acquire()  # Optuna's own lock, which another process might hold, after its grace period
    lock.release()


def test_a_lock_of_a_relative_path_ends_with_its_process_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "logs").mkdir()
    open_backend(Path("logs/journal.log"))
    JournalLock("logs/journal.log")._inner.acquire()  # by a process that was killed
    lock = JournalLock("logs/journal.log")
    lock._inner.grace_period = 1
    lock.acquire()
    assert lock._outer.is_locked
    lock.release()
    assert not lock._outer.is_locked


def test_one_tune_owns_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    first, second = Owner(path), Owner(path)
    first.take("one")
    with pytest.raises(ValueError, match=f"process {os.getpid()} runs study 'one' or repairs it.*softac-tune worker"):
        second.take("two")
    first.release()
    second.take("two")
    second.release()


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = new_study(tmp_path)
    run_trials(study, 1)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run_trials(study, 2)
    monkeypatch.undo()
    for trial in book_of(opened(tmp_path)).running:  # which this process still is, for all that is known
        fail(study, trial.number)
        requeue(study, trial.number)
    assert_nothing_lost(run_trials(opened(tmp_path), 3), 3)


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("postgresql+psycopg2://nobody:secret@127.0.0.1:1/none", r"Cannot reach postgresql\+psycopg2://nobody:\*\*\*@"),
        ("nonsense://", "Can't load plugin|not a database URL"),
        ("folder/that/is/missing/journal.log", "There is no journal"),
    ],
)
def test_storages_that_cannot_be_reached_are_named_without_the_password(storage: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        open_storage(storage)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    path.write_text('{"op_code": "nonsense"}\n')
    with pytest.raises(ValueError, match="Cannot open the journal"):
        open_storage(str(path), create=True)


# ---------------------------------------------------------------- processes


def tune(trials: int, jobs: int, *more: str) -> list[str]:
    return ["tune", *OPTIONS, "--trials", str(trials), "--jobs", str(jobs), "--env-kwargs", "seconds:0.02", *more]


def wait_until_some_run(folder: Path, finished: int = 0) -> None:
    """Of a study that another process is making."""
    for _ in range(600):
        time.sleep(0.1)
        if Path(journal(folder)).exists():
            storage = JournalStorage(open_backend(Path(journal(folder))))
            if any(name == NAME for name in (s.study_name for s in storage.get_all_studies())):
                book = book_of(opened_or_wait(folder))
                if book.running and len(book.finished) >= finished:
                    return
    raise AssertionError("no trial was started")


def opened_or_wait(folder: Path):  # type: ignore[no-untyped-def]
    """The study, once it has its settings."""
    while True:
        try:
            return opened(folder)
        except ValueError:
            time.sleep(0.1)


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def kill_at_random(folder: Path, how: str, generator: random.Random, trials: int) -> None:
    """Run ``tune --jobs 2`` until a random moment after its first trial was started, and end it."""
    before = len(book_of(opened(folder)).finished) if Path(journal(folder)).exists() else 0
    process = start(folder, *tune(trials, 2))
    wait_until_some_run(folder, before)
    time.sleep(generator.uniform(0, 1.5))
    workers = children(psutil.Process(process.pid))
    if how == "worker":
        for worker in workers[:1]:
            worker.kill()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
    else:
        process.send_signal(getattr(signal, how))
    process.communicate(timeout=60)
    psutil.wait_procs(workers, 60)
    assert not any(worker.is_running() for worker in workers)  # none goes on without the process that started it


def survive(folder: Path, hows: list[str], trials: int, seed: int) -> None:
    generator = random.Random(seed)
    for how in hows:
        kill_at_random(folder, how, generator, trials)
        opened(folder)  # the journal opens
    done = call(folder, *tune(trials, 2))
    assert done.returncode == 0, done.stderr
    book = book_of(opened(folder))
    assert_nothing_lost(book, trials)
    assert not book.failed
    assert not [trial for trial in book.all if trial.state == TrialState.RUNNING]


def test_a_tune_that_is_killed_at_random_is_resumed_without_loss(tmp_path: Path) -> None:
    survive(tmp_path, ["SIGTERM", "SIGKILL"], 6, seed=0)


@pytest.mark.slow
def test_a_tune_that_is_killed_ten_times_is_resumed_without_loss(tmp_path: Path) -> None:
    hows = ["SIGTERM", "SIGKILL", "worker", "SIGINT", "SIGKILL"] * 2
    survive(tmp_path, hows, 30, seed=1)


def test_the_second_signal_aborts_at_once(tmp_path: Path) -> None:
    options = tune(2, 1, "--evaluations", "1", "--episodes", "2000")  # an evaluation of minutes
    process = start(tmp_path, *options)
    wait_until_some_run(tmp_path)
    for _ in range(20):  # also while the handler of the one before runs
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Run the same command again to continue" in output


def test_a_second_tune_is_refused_and_a_worker_joins(tmp_path: Path) -> None:
    new_study(tmp_path)
    owner = Owner(Path(journal(tmp_path)))
    owner.take(NAME)
    refused = call(tmp_path, *tune(2, 1))
    assert refused.returncode == 2
    assert "is in use" in refused.stderr
    worker = call(tmp_path, "worker", "--study", NAME, "--trials", "2")
    assert worker.returncode == 0, worker.stderr
    owner.release()
    assert_nothing_lost(book_of(opened(tmp_path)), 2)
