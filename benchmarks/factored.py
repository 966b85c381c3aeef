"""
What do several components cost, and what do joint, local and additive critics learn?

    python benchmarks/factored.py cost      # seconds per gradient step and memory, by the sum of the components' sizes
    python benchmarks/factored.py learn     # discrete_tasks.py and SB3's IdentityEnv, compared with PPO

Each run is a process of its own on one thread; runs that are already in the results are skipped.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from discrete_tasks import Board, BoardWithoutMasks, Pairs, Spins, Sum
from gymnasium import spaces
from runs import EVALUATION_SEED_OFFSET, RESULTS, add_worker_options, append, missing, pin, read, versions

COST, LEARN = RESULTS / "factored-cost.jsonl", RESULTS / "factored-learn.jsonl"

# MultiDiscrete([8] * K), and MultiBinary(64)
SIZES = [[8] * 4, [8] * 8, [8] * 16, [8] * 32, [8] * 64, [2] * 64]
COST_OPTIONS: dict[str, dict[str, Any]] = {
    "local": {"critic": "local"},
    "local, 4 components": {"critic": "local", "local_components": 4},
    "additive": {"critic": "additive"},
}


def cost(sizes: list[int], critic: str, execution: str) -> dict[str, Any]:
    """Time and memory of gradient steps with 256 transitions of 17 numbers and networks of 256-256."""
    from stable_baselines3.common.logger import configure

    from sac_ext import SoftAC

    class Spaces(gym.Env[np.ndarray, np.ndarray]):
        observation_space = spaces.Box(-1, 1, (17,), np.float32)
        action_space = spaces.MultiDiscrete(sizes)

    model = SoftAC(
        "MlpPolicy",
        Spaces(),
        seed=0,
        buffer_size=10_000,
        device="cpu",
        execution=execution,
        policy_kwargs=dict(COST_OPTIONS[critic]),
    )
    model.set_logger(configure(None, []))
    rng, space = np.random.default_rng(0), Spaces.action_space
    space.seed(0)
    for _ in range(2000):
        obs, next_obs = rng.uniform(-1, 1, (2, 1, 17)).astype(np.float32)
        model.replay_buffer.add(obs, next_obs, space.sample()[None], rng.normal(size=1), np.zeros(1), [{}])
    model.train(3, 256)
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        model.train(4, 256)
        seconds.append((time.perf_counter() - start) / 4)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"milliseconds": round(1e3 * float(np.median(seconds)), 2), "peak_mb": round(peak), "versions": versions()}


IDENTITY = {"MultiDiscrete([3, 3])": spaces.MultiDiscrete([3, 3]), "MultiBinary(4)": spaces.MultiBinary(4)}


def identity(space: str) -> gym.Env[Any, Any]:
    from stable_baselines3.common.envs import IdentityEnv

    return IdentityEnv(space=IDENTITY[space], ep_length=100)


def without_future(**kwargs: Any) -> dict[str, Any]:
    """Arguments for tasks in which each observation is drawn anew, so there is nothing to bootstrap."""
    return {"learning_rate": 3e-3, "gamma": 0.0, "batch_size": 64, "train_freq": 2, **kwargs}


EPISODES = 100
BEST_ON_THE_BOARD = 5.96  # Board().best_and_random(); random legal moves reach 4.04
ON_THE_BOARD: dict[str, Any] = {
    "learning_rate": 1e-3,
    "gamma": 0.9,
    "batch_size": 128,
    "train_freq": 2,
    "target_entropy": "fraction:0.2",
}

# task: (environment, mean return of the best policy, steps, arguments of SoftAC)
TASKS: dict[str, tuple[Any, float, int, dict[str, Any]]] = {
    "identity MultiDiscrete([3, 3])": (partial(identity, "MultiDiscrete([3, 3])"), 100, 3000, without_future()),
    "identity MultiBinary(4)": (partial(identity, "MultiBinary(4)"), 100, 3000, without_future()),
    "sum": (Sum, 50, 10_000, without_future()),
    "sum, from random actions": (Sum, 50, 6000, without_future(exploration_eps=1.0)),
    "pairs": (Pairs, 50, 10_000, without_future()),
    "spins": (Spins, 50, 10_000, without_future(learning_rate=1e-3, batch_size=128)),
    "board": (Board, BEST_ON_THE_BOARD, 10_000, ON_THE_BOARD),
    "board without masks": (BoardWithoutMasks, BEST_ON_THE_BOARD, 10_000, ON_THE_BOARD),
}
PPO_AT = {f"PPO, {rate:g}": rate for rate in (3e-4, 1e-3, 3e-3)}
"""SB3's learning rate, and those of SoftAC in these tasks. PPO has SB3's other defaults, except for the networks, the
discount factor and shorter rollouts."""
LEARNERS = {
    "identity MultiDiscrete([3, 3])": ["SoftAC's defaults", "joint", "local", "additive", *PPO_AT],
    "identity MultiBinary(4)": ["SoftAC's defaults", "joint", "local", "additive", *PPO_AT],
    "sum": ["joint", "local", "additive", *PPO_AT],
    "sum, from random actions": ["joint", "local", "additive"],
    "pairs": ["local", "additive", *PPO_AT],
    "spins": ["local", "additive", *PPO_AT],
    "board": ["joint", "MaskablePPO"],
    "board without masks": ["joint"],
}


def make_model(task: str, learner: str, env: Any, seed: int) -> Any:
    """:return: the model before training"""
    from sb3_contrib import MaskablePPO
    from stable_baselines3 import PPO

    from sac_ext import SoftAC

    arguments = TASKS[task][3]
    common: dict[str, Any] = {"env": env, "seed": seed, "device": "cpu"}
    if learner == "SoftAC's defaults":
        return SoftAC("MlpPolicy", **common)
    networks: dict[str, Any] = {"net_arch": [128, 128]}
    if learner == "MaskablePPO" or learner in PPO_AT:
        chosen: Any = MaskablePPO if learner == "MaskablePPO" else PPO
        rate = PPO_AT.get(learner, 1e-3)
        common |= {"gamma": arguments["gamma"], "learning_rate": rate, "n_steps": 256}
        return chosen("MlpPolicy", policy_kwargs=networks, **common)
    return SoftAC("MlpPolicy", policy_kwargs=networks | {"critic": learner}, **common, **arguments)


def learn(task: str, learner: str, seed: int, steps: int, episodes: int) -> dict[str, Any]:
    """Mean return of deterministic episodes; on the board also the share of legal moves."""
    from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate_masked
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    make_env, best, *_ = TASKS[task]
    env = make_vec_env(make_env, seed=seed)
    evaluation = make_vec_env(make_env, seed=seed + EVALUATION_SEED_OFFSET)
    evaluate = evaluate_masked if task == "board" else evaluate_policy
    model = make_model(task, learner, env, seed)
    start = time.perf_counter()
    model.learn(steps, log_interval=None)  # so that the last values stay in the logger
    seconds = time.perf_counter() - start
    score, _ = evaluate(model, evaluation, n_eval_episodes=episodes)
    result = {"score": round(float(score), 2), "best": best, "seconds": round(seconds, 1)}
    if task.startswith("board"):
        result |= {"legal_in_training": _legal(env), "legal_in_evaluation": _legal(evaluation)}
    logged = model.logger.name_to_value
    names = [f"train/{name}" for name in ("entropy", "target_entropy", "ent_coef")]
    result |= {name: round(float(logged[name]), 4) for name in names if name in logged}
    return result | {"versions": versions()}


def _legal(env: Any) -> float:
    """:return: share of legal moves among all moves so far"""
    return round(1 - env.get_attr("n_illegal")[0] / env.get_attr("n_moves")[0], 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", choices=("cost", "learn"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102, 103, 104])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    add_worker_options(parser)
    options = parser.parse_args()
    pin(options)
    if options.one:
        warnings.simplefilter("ignore")
        job = json.loads(options.one)
        print(json.dumps(job | (cost if options.question == "cost" else learn)(**job)))
        return
    if options.question == "cost":
        out, jobs = (
            COST,
            [
                {"sizes": sizes, "critic": critic, "execution": execution}
                for execution in ("eager", "compile")
                for sizes in SIZES
                for critic in COST_OPTIONS
            ],
        )
    else:
        out, jobs = (
            LEARN,
            [
                {"task": task, "learner": learner, "seed": seed, "steps": TASKS[task][2], "episodes": EPISODES}
                for seed in options.seeds
                for task in options.tasks
                for learner in LEARNERS[task]
            ],
        )
    for job in missing(out, jobs, options.worker):
        place = ["--worker", options.worker, *([] if options.core is None else ["--core", str(options.core)])]
        command = [sys.executable, __file__, options.question, *place, "--one", json.dumps(job)]
        result = subprocess.run(command, capture_output=True, text=True, cwd=Path.cwd())
        if result.returncode:
            print(job, result.stderr.strip().splitlines()[-1], flush=True)
            continue
        append(out, json.loads(result.stdout.strip().splitlines()[-1]))
        found = {key: value for key, value in read(out)[-1].items() if key != "versions"}
        print(found, flush=True)


if __name__ == "__main__":
    main()
