"""
What score does a zoo entry reach? One JSON line per seed: python benchmarks/score.py --env Pendulum-v1 --seeds 0 1 2

Trains on one torch thread, and evaluates deterministically at every tenth of training (10 episodes) and at the end (100
episodes), in an environment with a seed of its own. Seeds that are already in the output file with the same entry and
number of episodes are skipped, so the same command resumes an interrupted run. Entries with keys of the zoo other than
n_timesteps (n_envs, normalize, ...) are not supported.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from runs import EVALUATION_SEED_OFFSET, RESULTS, append, interquartile_mean, read, versions
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from sac_ext import SoftAC
from sac_ext.tuning.entries import arguments_of, load_entry, our_config


class Curve(BaseCallback):
    """``[step, mean return]`` at every tenth of training."""

    def __init__(self, env: gym.Env, every: int) -> None:
        super().__init__()
        self.env, self.every = env, every
        self.points: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every == 0:
            mean, _ = evaluate_policy(self.model, self.env, 10)
            self.points.append((self.num_timesteps, round(float(mean), 2)))
        return True


def run(env_id: str, entry: dict[str, Any], seed: int, episodes: int) -> dict[str, Any]:
    """Train and evaluate one seed."""
    n_timesteps, arguments = int(float(entry["n_timesteps"])), arguments_of(entry)
    evaluation = Monitor(gym.make(env_id))
    evaluation.reset(seed=seed + EVALUATION_SEED_OFFSET)
    curve = Curve(evaluation, every=n_timesteps // 10)
    model = SoftAC(env=env_id, seed=seed, device="cpu", **arguments)
    start = time.perf_counter()
    model.learn(n_timesteps, callback=curve)
    seconds = time.perf_counter() - start
    returns, _ = evaluate_policy(model, evaluation, episodes, return_episode_rewards=True)
    return {
        "env": env_id,
        "seed": seed,
        "iqm": round(interquartile_mean(returns), 2),
        "mean": round(float(np.mean(returns)), 2),
        "min": round(float(np.min(returns)), 2),
        "episodes": episodes,
        "curve": curve.points,
        "seconds_with_evaluations": round(seconds, 1),
        "entry": entry,
        "versions": versions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="Pendulum-v1")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--execution", help="how gradient steps run, see SoftAC; default: the entry's")
    parser.add_argument("--steps", type=int, help="instead of the entry's n_timesteps")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/score-ENV.jsonl")
    options = parser.parse_args()
    th.set_num_threads(1)
    entry = load_entry(our_config(), options.env)
    if options.execution:
        entry = entry | {"execution": options.execution}
    if options.steps:
        entry = entry | {"n_timesteps": options.steps}
    out = options.out or RESULTS / f"score-{options.env}.jsonl"
    results = {
        line["seed"]: line for line in read(out) if line["entry"] == entry and line["episodes"] == options.episodes
    }
    for seed in options.seeds:
        if seed not in results:
            results[seed] = run(options.env, entry, seed, options.episodes)
            append(out, results[seed])
        print(
            f"{options.env} seed {seed}: IQM {results[seed]['iqm']:.1f}, mean {results[seed]['mean']:.1f}", flush=True
        )
    scores = [results[seed]["iqm"] for seed in options.seeds]
    print(f"IQM per seed: {', '.join(f'{score:.1f}' for score in scores)}")


if __name__ == "__main__":
    main()
