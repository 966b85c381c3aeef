"""
How long until a new process trains? python benchmarks/start_up.py

Seconds from the start of a Python process to the end of its first ten gradient steps (HalfCheetah's shape, one torch
thread, after 2000 random transitions): eager, compiled with an empty cache, and compiled after another process has
compiled the same. Processes take turns; medians over the rounds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from update_speed import processor, versions

HERE = Path(__file__).parent
SCRIPT = """
import torch as th; th.set_num_threads(1)
from update_speed_contenders import SHAPES, soft_ac
soft_ac("{mode}")(SHAPES["halfcheetah"], "cpu")(10)
"""


def seconds(mode: str, cache: str) -> float:
    start = time.perf_counter()
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", SCRIPT.format(mode=mode)], check=True, cwd=HERE, env=environment)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:1]))
    taken: dict[str, list[float]] = {"eager": [], "compile, empty cache": [], "compile, second process": []}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as cache:
            taken["eager"].append(seconds("eager", cache))
            taken["compile, empty cache"].append(seconds("compile", cache))
            taken["compile, second process"].append(seconds("compile", cache))
        print({name: round(values[-1], 2) for name, values in taken.items()}, flush=True)
    medians = {name: round(median(values), 2) for name, values in taken.items()}
    print(medians)
    report = {"versions": versions(), "hardware": processor(), "seconds": medians, "rounds": taken}
    (HERE / "results" / "start-up.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
