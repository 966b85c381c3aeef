"""
What do denormal numbers in Adam's moving averages cost a gradient step?

    python benchmarks/denormals.py --env MinAtar/Breakout-v1 --steps 40000

Trains SoftAC with its zoo entry and denormals left as they are, then times gradient steps that start from that state,
with and without flushing denormals, in turns.
"""

import argparse
import contextlib
import copy
import time
from typing import Any
from unittest.mock import patch

import numpy as np
from contenders import our_entry
from runs import RESULTS, add_worker_options, append, pin, versions
from stable_baselines3.common.env_util import make_vec_env

from sac_ext import SoftAC, soft_ac
from sac_ext.zoo.registration import register

SMALLEST_NORMAL = 1.17549435e-38


def share_of_denormals(model: SoftAC) -> float:
    """:return: share in the moving averages of gradients and of their squares"""
    optimizers = (model.actor.optimizer, model.critic.optimizer)
    means = [state[name] for each in optimizers for state in each.state.values() for name in ("exp_avg", "exp_avg_sq")]
    denormal = sum(int(((mean != 0) & (mean.abs() < SMALLEST_NORMAL)).sum()) for mean in means)
    return denormal / sum(mean.numel() for mean in means)


def left_as_they_are() -> Any:
    return patch.object(soft_ac, "flushed_denormals", lambda flush: contextlib.nullcontext())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="MinAtar/Breakout-v1")
    parser.add_argument("--steps", type=int, default=40_000, help="training steps before the measurement")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--gradient-steps", type=int, default=100, help="gradient steps of each round")
    add_worker_options(parser)
    options = parser.parse_args()
    pin(options)
    register()
    arguments = {"execution": "compile", **our_entry(options.env)}
    model = SoftAC(env=make_vec_env(options.env, seed=0), seed=0, device="cpu", **arguments)
    with left_as_they_are():
        model.learn(options.steps)
    trained, n = copy.deepcopy(model.get_parameters()), options.gradient_steps
    result: dict[str, Any] = {
        "env": options.env,
        "steps": options.steps,
        "entry": our_entry(options.env),
        "share_of_denormals": round(share_of_denormals(model), 4),
    }
    for execution in ("eager", "compile"):
        model.execution = execution
        model._set_execution()
        seconds: dict[str, list[float]] = {"left": [], "flushed": []}
        for _ in range(options.rounds + 1):
            for name, setting in (("left", left_as_they_are()), ("flushed", contextlib.nullcontext())):
                model.set_parameters(copy.deepcopy(trained))
                with setting:
                    start = time.perf_counter()
                    model.train(n, model.batch_size)
                    seconds[name].append((time.perf_counter() - start) / n)
        rounds = {name: np.array(values[1:]) for name, values in seconds.items()}  # the first one compiles
        result[execution] = {
            "milliseconds": {name: round(1e3 * float(np.median(values)), 2) for name, values in rounds.items()},
            "ratio": round(float(np.median(rounds["left"] / rounds["flushed"])), 2),
        }
    append(RESULTS / "denormals.jsonl", result | {"versions": versions()})
    print(result)


if __name__ == "__main__":
    main()
