"""The same study in PostgreSQL: a server of the test's own, on loopback."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sac_ext.tuning.storage import open_storage
from sac_ext.tuning.trials import Book, book_of
from sac_ext.tuning.worker import load_study
from tests.tuning_help import NAME, OPTIONS, assert_nothing_lost, call, start

pytestmark = [
    pytest.mark.slow,
    pytest.mark.postgres,
    pytest.mark.skipif(shutil.which("initdb") is None, reason="needs PostgreSQL's initdb and postgres in the path"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # connections of SQLAlchemy's pool
]
HEARTBEAT = "2"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="softac-postgres-"))
    # PostgreSQL does not run as root
    as_user: dict[str, Any] = {"user": "nobody"} if hasattr(os, "geteuid") and os.geteuid() == 0 else {}
    if as_user:
        shutil.chown(folder, "nobody")
    data = folder / "data"
    initdb = ["initdb", "-D", str(data), "--auth", "trust", "--username", "tester", "--no-sync"]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **as_user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F"]
    server = subprocess.Popen(["postgres", "-D", str(data), *options], cwd=folder, stderr=subprocess.DEVNULL, **as_user)
    for _ in range(300):
        time.sleep(0.1)
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            continue
    yield f"postgresql+psycopg2://tester@127.0.0.1:{port}/postgres"
    server.send_signal(signal.SIGINT)  # without waiting for those that are still connected
    server.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


def book(url: str) -> Book:
    return book_of(load_study(open_storage(url), NAME))


def test_a_worker_is_killed_and_the_other_finishes_its_trial(url: str, tmp_path: Path) -> None:
    options = ["--storage", url, "--heartbeat", HEARTBEAT]
    setup = call(tmp_path, "tune", *OPTIONS, "--trials", "1", *options, "--env-kwargs", "seconds:0.05")
    assert setup.returncode == 0, setup.stderr
    # as on another host: what is known of the process there is its heartbeat alone
    elsewhere = Path(tmp_path) / "sitecustomize.py"
    elsewhere.write_text("import socket\nsocket.gethostname = lambda: 'elsewhere'\n")
    first = start(tmp_path, "worker", "--study", NAME, "--trials", "6", *options, paths=[str(tmp_path)])
    while not book(url).running:
        time.sleep(0.1)
    second = start(tmp_path, "worker", "--study", NAME, "--trials", "6", *options)
    while len(book(url).running) < 2:
        time.sleep(0.1)
    killed = next(t for t in book(url).running if t.user_attrs.get("process", {}).get("host") == "elsewhere")
    first.kill()
    first.communicate()
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    found = book(url)
    assert_nothing_lost(found, 6)
    retry = next(t for t in found.complete + found.pruned if t.user_attrs.get("retry_of") == killed.number)
    assert retry.params == killed.params
    assert retry.user_attrs["process"]["pid"] == second.pid


def test_the_same_command_on_two_nodes(url: str, tmp_path: Path) -> None:
    options = ["tune", *OPTIONS, "--storage", url, "--heartbeat", HEARTBEAT, "--trials", "12"]
    options += ["--env-kwargs", "seconds:0.05"]
    nodes = [start(tmp_path, *options, "-f", f"node{index}") for index in range(2)]
    for node in nodes:
        output, _ = node.communicate(timeout=300)
        assert node.returncode == 0, output
    assert_nothing_lost(book(url), 12)
    best = call(tmp_path, "best", "--study", NAME, "--storage", url)
    assert best.returncode == 0, best.stderr
    assert "Toy-v0:" in best.stdout
