"""
How many gradient steps a second, compared with SB3's SAC, SBX's SAC, SDSAC and TorchRL's losses?

    python benchmarks/update_speed.py --threads 1
    python benchmarks/update_speed.py --threads 2

Each contender trains in a process of its own, pinned to the same cores with the same number of threads. Contenders take
turns over several rounds, and wait between their turns. Steps include sampling their batches of 256 transitions.
Speed-ups are medians over the rounds of the ratio to SB3's SAC, or, for actions that it does not support, to SoftAC's
eager mode.

The floor is how many steps a second there would be if only the floating-point operations of a step took time (counted
by torch on the eager step, which computes no gradient that it does not use), at the best rate of float32 matrix
products that torch reaches with these threads, among several sizes, with the library that torch calls and with oneDNN.
This rate is measured in each round.

The other libraries come with the ``bench`` extra; those that are not installed are left out, and the JSON says so.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import torch as th
from torch.utils.flop_counter import FlopCounterMode
from update_speed_contenders import BATCH_SIZE, CONTENDERS, SHAPES, Shape, soft_ac

from sac_ext.execution.products import onednn_mm

HERE = Path(__file__).parent
GRADIENT_STEPS = (1, 32)
PACKAGES = ("sac_ext", "stable_baselines3", "torch", "sbx-rl", "jax", "sb3-soft", "torchrl", "numpy")


class Contender:
    """A process that trains when asked to."""

    def __init__(self, name: str, shape: str, device: str, threads: int) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
        if threads == 1:
            environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "update_speed_contenders.py"), name, shape, device, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.answer = self._read()

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip() or "not measured: it failed"

    def seconds(self, gradient_steps: int, calls: int) -> float:
        assert self.process.stdin is not None
        print(gradient_steps, calls, file=self.process.stdin, flush=True)
        return float(self._read())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def matrix_rate(device: str) -> dict[str, float]:
    """Floating-point operations per second, by library."""
    products = {"torch": th.mm}
    if device == "cpu":
        products["oneDNN"] = lambda a, b: onednn_mm(a, b, None)
    best = dict.fromkeys(products, 0.0)
    for size in (256, 512, 1024):
        a, b = th.randn(size, size, device=device), th.randn(size, size, device=device)
        for name, product in products.items():
            for _ in range(10):
                start = time.perf_counter()
                product(a, b)
                if device == "cuda":
                    th.cuda.synchronize()
                best[name] = max(best[name], 2 * size**3 / (time.perf_counter() - start))
    return best


def operations(shape: Shape) -> int:
    """Floating-point operations of one step."""
    train = soft_ac("eager")(shape, "cpu")
    with FlopCounterMode(display=False) as counter:
        train(1)
    return counter.get_total_flops()


def measure(shape: str, names: list[str], rounds: int, seconds: float, device: str, threads: int) -> dict[str, Any]:
    contenders, missing = {}, {}
    for name in names:
        contender = Contender(name, shape, device, threads)
        if contender.answer == "ready":
            contenders[name] = contender
        else:
            missing[name] = contender.answer
        print(f"{shape}: {name}: {contender.answer}", flush=True)
    calls = {}
    for name, contender in contenders.items():
        for gradient_steps in GRADIENT_STEPS:
            contender.seconds(gradient_steps, 2)  # compiles
            once = contender.seconds(gradient_steps, 1)
            calls[name, gradient_steps] = max(1, round(seconds / once))
    turns: dict[tuple[str, int], list[float]] = {key: [] for key in calls}
    rates = []
    for _ in range(rounds):
        rates.append(matrix_rate(device))
        for name, gradient_steps in calls:
            n = calls[name, gradient_steps]
            taken = contenders[name].seconds(gradient_steps, n)
            turns[name, gradient_steps].append(n * gradient_steps / taken)
    for contender in contenders.values():
        contender.close()
    flops = operations(SHAPES[shape])
    floor = [max(rate.values()) / flops for rate in rates]  # steps per second
    reference = "SB3 SAC" if "SB3 SAC" in contenders else "SoftAC eager"
    result: dict[str, Any] = {
        "operations": flops,
        "matrix_rate": {name: median(rate[name] for rate in rates) for name in rates[0]},
        "floor": median(floor),
        "reference": reference,
        "not_measured": missing,
        "contenders": {},
    }
    for name in contenders:
        result["contenders"][name] = {
            str(gradient_steps): {
                "steps_per_second": median(turns[name, gradient_steps]),
                "speedup": ratio(turns[name, gradient_steps], turns.get((reference, gradient_steps), [])),
                "to_sbx": ratio(turns[name, gradient_steps], turns.get(("SBX SAC", gradient_steps), [])),
                "share_of_floor": ratio(turns[name, gradient_steps], floor),
                "rounds": turns[name, gradient_steps],
            }
            for gradient_steps in GRADIENT_STEPS
        }
    return result


def ratio(ours: list[float], theirs: list[float]) -> float | None:
    """Median over the rounds of the ratio in each."""
    return median(a / b for a, b in zip(ours, theirs, strict=True)) if theirs else None


def processor() -> str:
    """Name and vector extensions of the CPU, as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    about = {key.strip(): value.strip() for key, value in fields.items()}
    vectors = " ".join(flag for flag in about.get("flags", "").split() if flag in ("avx2", "avx512f", "avx512_bf16"))
    return f"{about.get('model name')}, family {about.get('cpu family')}, model {about.get('model')}, {vectors}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--threads", type=int, default=1, help="threads, and as many cores")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds of each turn, about")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    names = [name for name in args.contenders if args.device == "cuda" or name != "SoftAC cuda_graph"]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: args.threads]))
    th.set_num_threads(args.threads)
    output = args.output or HERE / "results" / f"update-speed-{args.device}-{args.threads}.json"
    report: dict[str, Any] = {
        "command": " ".join(["python", *sys.argv]),
        "versions": versions(),
        "hardware": th.cuda.get_device_name() if args.device == "cuda" else processor(),
        "threads": args.threads,
        "batch_size": BATCH_SIZE,
        "shapes": {},
    }
    if output.exists():  # shapes measured before stay, if versions, hardware and threads were the same
        before = json.loads(output.read_text())
        if all(before[key] == report[key] for key in ("versions", "hardware", "threads")):
            report["shapes"] = before["shapes"]
    for shape in args.shapes:
        result = measure(shape, names, args.rounds, args.seconds, args.device, args.threads)
        report["shapes"][shape] = result | {"command": report["command"]}
        print(f"{shape}: floor {result['floor']:.0f} steps/s, rates {result['matrix_rate']}")
        for name, cells in result["contenders"].items():
            for gradient_steps, cell in cells.items():
                numbers = {key: value and round(value, 2) for key, value in cell.items() if key != "rounds"}
                print(f"  {name:26} {gradient_steps:>3} {numbers}", flush=True)
        output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
