"""
How fast and how big is DeviceReplayBuffer, compared with SB3's and TorchRL's? python benchmarks/buffer.py

Vectors (17 numbers), dicts (a vector and a 36x36x1 image) and stacks of frames (4x84x84) of 1, 16 and 256 environments,
in buffers that are full:

- add: one transition of each environment
- sample: 256 transitions
- sample_many: a list of 32 such batches, per batch
- batches: the same, but no batch is kept when the next one is made

SB3 makes 32 batches by 32 calls; where TorchRL has several ways, the fastest one counts, and the results name it.
Contenders take turns of a tenth of a second on one torch thread, over several rounds. Times are medians over the
rounds; speed-ups are medians over the rounds of the ratio of SB3's time to the contender's.

On CUDA, SB3 copies batches from the host, and the others store transitions on the device. TorchRL comes with the
``bench`` extra; the others are measured without it too. plot_buffer.py draws the results.
"""

import argparse
import gc
import json
import os
import platform
import time
import warnings
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch as th
from buffer_contenders import (
    ACTION,
    BATCH_SIZE,
    FRAME_STACK,
    FRAMES,
    HAS_TORCHRL,
    Cell,
    Contender,
    Repeated,
    contenders,
    sb3_nbytes,
)
from stable_baselines3.common.buffers import ReplayBuffer

from sac_ext import DeviceReplayBuffer

RESULTS = Path(__file__).parent / "results"
CAPACITIES = {"vector": 300_000, "dict": 50_000, "frames": 20_000}  # more than caches hold
N_ENVS = (1, 16, 256)
OPERATIONS = ("add", "sample", "sample_many", "batches")
PACKAGES = ("sac_ext", "stable_baselines3", "torch", "numpy")


def seconds_of(operation: Repeated, times: int) -> float:
    """Seconds that all repetitions take together."""
    if th.cuda.is_initialized():
        th.cuda.synchronize()
    start = time.perf_counter()
    operation(times)
    if th.cuda.is_initialized():
        th.cuda.synchronize()
    return time.perf_counter() - start


def times_in(seconds: float, operation: Repeated) -> int:
    """How often an operation can be done in about that time; at least once."""
    operation(1)
    times = 1
    while (taken := seconds_of(operation, times)) < seconds / 4:
        times *= 2
    return max(1, round(times * seconds / taken))


def measure(
    operation: str, per: int, entered: list[Contender], rounds: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """
    :param per: how many batches the operation makes, for the time of one
    :return: by contender: its fastest way, the median time of that, the time in each round, and the speed-up
    """
    turns = [
        (contender.name, way, function, times_in(seconds, function))
        for contender in entered
        for way, function in contender.operations[operation].items()
    ]
    taken: dict[str, dict[str, list[float]]] = {name: {} for name, *_ in turns}
    for round_ in range(rounds):
        first = round_ % len(turns)  # each is first in some round
        for name, way, function, times in turns[first:] + turns[:first]:
            each = 1e6 * seconds_of(function, times) / (times * per)
            taken[name].setdefault(way, []).append(each)
    results: dict[str, dict[str, Any]] = {}
    (baseline,) = taken["SB3"].values()
    for name, ways in taken.items():
        way, own = min(ways.items(), key=lambda item: median(item[1]))
        results[name] = {
            "way": way,
            "microseconds": round(median(own), 2),
            "speedup": round(median(sb3 / each for sb3, each in zip(baseline, own, strict=True)), 3),
            "rounds": [round(each, 2) for each in own],
        }
    return results


def run(cell: Cell, device: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Measure everything about a cell, and print it."""
    gc.collect()  # TorchRL's last buffer refers to itself
    entered = list(contenders(cell, device, np.random.default_rng(0)))
    print(f"\n{f'{cell.kind}, n_envs={cell.n_envs}':>18}" + "".join(f"{contender.name:>26}" for contender in entered))
    measured = {}
    for operation in OPERATIONS:
        batches = cell.many if operation in ("sample_many", "batches") else 1
        results = measured[operation] = measure(operation, batches, entered, rounds, seconds)
        columns = [f"{each['microseconds']:.1f} us  {each['speedup']:.2f}x" for each in results.values()]
        print(f"{operation:>18}" + "".join(f"{column:>26}" for column in columns), flush=True)
    nbytes = {contender.name: contender.nbytes for contender in entered}
    print(f"{'memory':>18}" + "".join(f"{f'{each / 1e6:.1f} MB':>26}" for each in nbytes.values()), flush=True)
    return {"kind": cell.kind, "n_envs": cell.n_envs, "capacity": cell.capacity, **measured, "nbytes": nbytes}


def million_nbytes() -> dict[str, int]:
    """Memory that a million stacks of frames take, without allocating it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about memory: they would not fit here
        ours = DeviceReplayBuffer(1_000_000, FRAMES, ACTION, "cpu", frame_stack=FRAME_STACK)
    return {"SB3": 1_000_000 * sb3_nbytes(ReplayBuffer(1, FRAMES, ACTION, "cpu")), "sac_ext": ours.nbytes}


def environment(device: str) -> dict[str, Any]:
    """Versions and hardware."""
    cpuinfo = Path("/proc/cpuinfo")  # on Linux; elsewhere Python knows the name
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = PACKAGES + (("torchrl", "tensordict") if HAS_TORCHRL else ())
    return {
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in packages},
        "hardware": {
            "platform": platform.platform(),
            "cpu": models[0] if models else platform.processor(),
            "cpus": os.cpu_count(),
            "torch_threads": th.get_num_threads(),
            "device": th.cuda.get_device_name() if device == "cuda" else device,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="device on which batches are wanted")
    parser.add_argument("--quick", action="store_true", help="few small buffers and short turns, to see if it runs")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/buffer-DEVICE.json, no file with --quick")
    options = parser.parse_args()
    if options.device == "cuda" and not th.cuda.is_available():
        parser.error("torch finds no CUDA device")
    th.set_num_threads(1)
    if not HAS_TORCHRL:
        print("TorchRL is left out, as it is not installed: pip install '.[bench]'", flush=True)
    rounds, seconds, many = (2, 0.005, 2) if options.quick else (9, 0.1, 32)
    cells = [
        run(Cell(kind, n_envs, 1_000 if options.quick else capacity, many), options.device, rounds, seconds)
        for kind, capacity in CAPACITIES.items()
        for n_envs in (N_ENVS[:2] if options.quick else N_ENVS)
    ]
    million = million_nbytes()
    gigabytes = ", ".join(f"{name} {nbytes / 1e9:.1f} GB" for name, nbytes in million.items())
    print(f"\na million transitions of frames: {gigabytes}")
    out = options.out or (None if options.quick else RESULTS / f"buffer-{options.device}.json")
    if out:
        settings = {"rounds": rounds, "seconds_per_turn": seconds, "batch_size": BATCH_SIZE, "batches": many}
        report = environment(options.device) | {"options": settings, "cells": cells, "million_frames_nbytes": million}
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
