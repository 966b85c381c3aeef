"""
Does the entropy follow its target? Every kind of target, on CartPole-v1 and Pendulum-v1, where the kind allows it.

    python benchmarks/entropy_kinds.py --worker 0/2 & python benchmarks/entropy_kinds.py --worker 1/2
    python benchmarks/plot_entropy_kinds.py

SoftAC has its entry of ``zoo_configs/softac.yml`` with constant learning rates. Entropy, target and coefficient are
those that were logged, averaged over each hundredth of training; the entropy of the trained policy is measured at
observations sampled from the replay buffer. Runs that are already in the results are skipped.
"""

import argparse
import itertools
import warnings
from typing import Any

import numpy as np
from contenders import our_entry
from runs import RESULTS, add_worker_options, append, missing, pin, versions

STEPS = {"CartPole-v1": 20_000, "Pendulum-v1": 10_000}
# constant, so that the entropy follows schedules to their ends; with the 1e-3 of Pendulum's entry for the networks as
# well, the entropy of a single policy was up to 7 % of its range away from its target
RATES: dict[str, dict[str, float]] = {
    "CartPole-v1": {"learning_rate": 1e-3},
    "Pendulum-v1": {"learning_rate": 3e-4, "ent_coef_learning_rate": 1e-3},
}
# number of observations to measure the trained policy's entropy at; on Box, each gives one -log pi(a|s), which differs
# widely between actions where the policy saturates
OBSERVATIONS = {"CartPole-v1": 2000, "Pendulum-v1": 200_000}
# each kind with the settings that one would choose for runs this short
KINDS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "constant": 0.3,
        "fraction": "fraction:0.5",
        "epsilon": "epsilon:0.2",
        "linear": "linear:0.9->0.3@0.8",
        "cosine": "cosine:0.9->0.3@0.8",
        "exponential": "exponential:0.9->0.3@0.8",
        "annealed": {"kind": "annealed", "start": 0.9, "end": 0.3, "patience": 500, "tolerance": 0.05, "max_std": 0.2},
        "on_plateau": {"kind": "on_plateau", "start": 0.9, "end": 0.3, "patience": 1500},
        "default": "auto",
    },
    "Pendulum-v1": {
        "constant": -0.5,
        "per_dim": "per_dim:1.0",
        "sigma": "sigma:0.15",
        "linear": "linear:0->-1@0.8",
        "cosine": "cosine:0->-1@0.8",
        "exponential": "exponential:-0.3->-1.2@0.8",
        "annealed": {"kind": "annealed", "start": 0.0, "end": -1.0, "patience": 500, "tolerance": 0.1, "max_std": 0.3},
        "on_plateau": {"kind": "on_plateau", "start": 0.0, "end": -1.0, "patience": 1500},
    },
}
LOGGED = ("train/entropy", "train/target_entropy", "train/ent_coef")


def run(env: str, seed: int, steps: int, target: Any, rates: dict[str, float]) -> dict[str, Any]:
    import torch as th
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env

    from sac_ext import SoftAC

    class Curves(BaseCallback):
        """One row of what is logged at each step in the environment."""

        def _on_training_start(self) -> None:
            self.rows: list[list[float]] = []

        def _on_step(self) -> bool:
            values = self.model.logger.name_to_value
            if all(name in values for name in LOGGED):
                self.rows.append([self.num_timesteps, *(float(values[name]) for name in LOGGED)])
            return True

    arguments = our_entry(env)
    model = SoftAC(
        env=make_vec_env(env, seed=seed),
        seed=seed,
        device="cpu",
        **{"execution": "compile", **arguments, **rates, "target_entropy": target},
    )
    curves = Curves()
    model.learn(steps, curves)
    assert model.replay_buffer is not None
    with th.no_grad():
        batches = (model.replay_buffer.sample(2000).observations for _ in range(OBSERVATIONS[env] // 2000))
        measured = float(np.mean([float(model.head.pi(model.actor, obs).entropy.mean()) for obs in batches]))
    rows = np.array(curves.rows)
    edges = np.arange(101) * steps / 100
    hundredths = [rows[(rows[:, 0] > a) & (rows[:, 0] <= b)] for a, b in itertools.pairwise(edges)]
    return {
        "policy_entropy": round(measured, 4),
        "curve": [[round(float(x), 5) for x in part.mean(axis=0)] for part in hundredths if len(part)],
        "versions": versions(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add_worker_options(parser)
    options = parser.parse_args()
    pin(options)
    warnings.filterwarnings("ignore", message="ent_coef is held")
    out = RESULTS / "entropy-kinds.jsonl"
    jobs = [
        {"env": env, "kind": kind, "seed": seed, "steps": STEPS[env], "target": KINDS[env][kind], "rates": RATES[env]}
        for env in options.envs
        for seed in options.seeds
        for kind in KINDS[env]
    ]
    for job in missing(out, jobs, options.worker):
        result = run(**{name: value for name, value in job.items() if name != "kind"})
        append(out, job | result)
        print(job, result["policy_entropy"], result["curve"][-1], flush=True)


if __name__ == "__main__":
    main()
