"""
How long until the same score? python benchmarks/wall_clock.py --env Pendulum-v1 --seeds 0 1 2

SB3's SAC, SBX's SAC and SoftAC train with the same hyperparameters, on one torch thread and one core, until the mean
return of 10 deterministic episodes reaches the environment's goal, which is checked at every fiftieth of the most steps
allowed. The clock starts when the algorithm is constructed, so that it counts compilation (by torch with what earlier
processes left in its cache), and stands still during evaluations. Each run is a process of its own; contenders take
turns, seed by seed. Results are appended as JSON lines, and runs that are already there are skipped.

LunarLanderContinuous-v3 needs the ``envs`` extra, SBX the ``bench`` extra.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from update_speed import processor, versions

RESULTS = Path(__file__).parent / "results"
GOALS = {"Pendulum-v1": (-200.0, 10_000), "LunarLanderContinuous-v3": (200.0, 200_000)}  # score, most steps
CONTENDERS = ("SB3 SAC", "SBX SAC", "SoftAC eager", "SoftAC compile")


def algorithm(name: str) -> tuple[Any, dict[str, Any]]:
    if name == "SB3 SAC":
        from stable_baselines3 import SAC

        return SAC, {}
    if name == "SBX SAC":
        from sbx import SAC as SBXSAC

        return SBXSAC, {}
    from sac_ext import SoftAC

    return SoftAC, {"execution": name.removeprefix("SoftAC ")}


def run(name: str, env_id: str, seed: int) -> dict[str, Any]:
    """Train until the score is reached."""
    import gymnasium as gym
    import torch as th
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor

    th.set_num_threads(1)
    goal, most_steps = GOALS[env_id]
    evaluation = Monitor(gym.make(env_id))
    evaluation.reset(seed=seed + 10_000)

    class UntilReached(BaseCallback):
        seconds_evaluating = 0.0
        reached = False
        score = float("-inf")

        def _on_step(self) -> bool:
            if self.num_timesteps % (most_steps // 50) == 0:
                before = time.perf_counter()
                self.score = float(evaluate_policy(self.model, evaluation, 10)[0])
                self.reached = self.score >= goal
                self.seconds_evaluating += time.perf_counter() - before
            return not self.reached

    until = UntilReached()
    make, options = algorithm(name)
    start = time.perf_counter()
    model = make("MlpPolicy", env_id, learning_rate=1e-3, seed=seed, device="cpu", **options)
    model.learn(most_steps, callback=until)
    seconds = time.perf_counter() - start - until.seconds_evaluating
    return {
        "env": env_id,
        "contender": name,
        "seed": seed,
        "reached": until.reached,
        "score": round(until.score, 1),
        "seconds": round(seconds, 1),
        "steps": model.num_timesteps,
        "hardware": processor(),
        "versions": versions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=GOALS, default="Pendulum-v1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--core", type=int, default=0, help="core to run on")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        warnings.simplefilter("ignore")
        print(json.dumps(run(options.contenders[0], options.env, options.seeds[0])))
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    environment["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    out = RESULTS / f"wall-clock-{options.env}.jsonl"
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {(line["contender"], line["seed"]) for line in lines}
    for seed in options.seeds:
        for name in options.contenders:
            if (name, seed) in done:
                continue
            command = [sys.executable, __file__, "--one", "--env", options.env, "--seeds", str(seed)]
            result = subprocess.run([*command, "--contenders", name], env=environment, capture_output=True, text=True)
            if result.returncode != 0:
                print(f"{name}: {result.stderr.strip().splitlines()[-1]}", flush=True)
                continue
            line = result.stdout.strip().splitlines()[-1]
            with out.open("a") as file:
                file.write(line + "\n")
            found = json.loads(line)
            print(
                f"{name} seed {seed}: {found['score']} after {found['seconds']} s, {found['steps']} steps", flush=True
            )


if __name__ == "__main__":
    main()
