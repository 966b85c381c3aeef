"""Starts, watches, replaces and stops the workers of one ``tune`` on this machine."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .places import STORAGE_VARIABLE, Place

TOO_MANY_FAILURES = 3
"""Exit status of a worker that gave up on the study."""


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    output: Path


class Crew:
    """
    Processes that run ``softac-tune worker``.

    :param place: place of the study
    :param jobs: number of workers
    :param options: command-line options of each worker
    :param gpus: CUDA devices, given to the workers in turn by ``CUDA_VISIBLE_DEVICES``; if empty, that is left as it is
    """

    def __init__(self, place: Place, jobs: int, options: Sequence[str], gpus: Sequence[str] = ()) -> None:
        self.place, self.jobs, self.options, self.gpus = place, jobs, list(options), list(gpus)
        self._workers: dict[int, _Worker] = {}
        self.gave_up = False
        """Whether a worker has found that the study cannot go on."""
        self.deaths = 0
        """Number of workers that crashed or were killed since a trial was last finished."""

    def start(self) -> None:
        """Start all workers."""
        self.place.folder.mkdir(parents=True, exist_ok=True)
        for index in range(self.jobs):
            self._start(index)

    def _start(self, index: int) -> None:
        """Start the worker with this index, which appends to its output file."""
        environment = {**os.environ, STORAGE_VARIABLE: self.place.storage, "PYTHONUNBUFFERED": "1"}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[index % len(self.gpus)]
        output = self.place.folder / f"worker-{index}.txt"
        command = [sys.executable, "-m", "sac_ext.tuning", "worker", "--study", self.place.study]
        command += ["-f", str(self.place.folder.parent), "--parent", str(os.getpid()), "--index", str(index)]
        with output.open("ab") as file:
            # in a session of its own, so that Ctrl-C reaches it only once, through this process
            process = subprocess.Popen(
                [*command, *self.options],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._workers[index] = _Worker(process, output)

    def watch(self, replace: bool) -> int:
        """
        Check which workers have ended.

        :param replace: whether to start new ones for those that crashed or were killed
        :return: number of workers that are running
        """
        for index, worker in list(self._workers.items()):
            status = worker.process.poll()
            if status is None:
                continue
            del self._workers[index]
            self.gave_up |= status == TOO_MANY_FAILURES
            if status not in (0, TOO_MANY_FAILURES):
                self.deaths += 1
                if replace:
                    self._start(index)
        return len(self._workers)

    def stop(self) -> None:
        """Ask the workers to leave their trials cleanly, and to end."""
        for worker in self._workers.values():
            worker.process.terminate()

    def kill(self) -> None:
        """Kill the workers, whatever they are doing."""
        for worker in self._workers.values():
            worker.process.kill()
        for worker in self._workers.values():
            worker.process.wait()

    def last_words(self) -> str:
        """:return: the last lines that each worker has printed"""
        texts = []
        for index in range(self.jobs):
            path = self.place.folder / f"worker-{index}.txt"
            if path.exists():
                lines = path.read_text(errors="replace").strip().splitlines()[-5:]
                texts.append(f"{path}:\n  " + "\n  ".join(lines))
        return "\n".join(texts)
