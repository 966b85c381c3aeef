"""
Which defaults make SoftAC learn on discrete actions? One option is changed at a time, on three environments.

    python benchmarks/ablation.py --worker 0/2 &
    python benchmarks/ablation.py --worker 1/2

Runs that the results have already are skipped, so an interrupted one goes on by the same command. All share the
hyperparameters below, and small networks; ``--steps short`` is for finding out what is worth 10 seeds of ``--steps
full``. Table: ``python benchmarks/ablation_table.py``.
"""

import argparse
import warnings
from typing import Any

from runs import RESULTS, add_worker_options, append, check_environments, missing, pin, train_and_evaluate, versions

SHARED: dict[str, Any] = {
    "batch_size": 128,
    "buffer_size": 100_000,
    "learning_starts": 1000,
    "gamma": 0.99,
    "tau": 0.01,
    "train_freq": 4,
    "gradient_steps": 4,
}
BY_ENV: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"learning_rate": "lin_2e-3"},
    "Acrobot-v1": {"learning_rate": "lin_1e-3"},
    "LunarLander-v3": {"learning_rate": "lin_1e-3", "n_steps": 3},
}
STEPS = {
    "short": {"CartPole-v1": 30_000, "Acrobot-v1": 30_000, "LunarLander-v3": 80_000},
    "full": {"CartPole-v1": 50_000, "Acrobot-v1": 100_000, "LunarLander-v3": 200_000},
}
# what every variant differs from in what it names: first around a target of a fifth, then, with "target 0.5" in their
# names, around the half that did better
CENTRE: dict[str, Any] = {
    "ent_coef": "auto_0.1",
    "target_entropy": "fraction:0.2",
    "critic_reduction": "mean",
    "entropy_in_critic": 0.0,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "centre": {},
    "entropy in critic 1": {"entropy_in_critic": 1.0},
    "target 0.1": {"target_entropy": "fraction:0.1"},
    "target 0.5": {"target_entropy": "fraction:0.5"},
    "target 0.98": {"target_entropy": "fraction:0.98"},
    "target 0.6 to 0.2": {"target_entropy": "schedule"},
    "initial alpha 1": {"ent_coef": "auto_1.0"},
    "initial alpha 0.01": {"ent_coef": "auto_0.01"},
    "alpha's rate 3e-4": {"ent_coef_learning_rate": 3e-4},
    "alpha's rate 3e-3": {"ent_coef_learning_rate": 3e-3},
    "minimum of critics": {"critic_reduction": "min"},
    "entropy in critic 1, target 0.5": {"entropy_in_critic": 1.0, "target_entropy": "fraction:0.5"},
    "paper": {
        "entropy_in_critic": 1.0,
        "target_entropy": "fraction:0.98",
        "ent_coef": "auto_1.0",
        "critic_reduction": "min",
    },
    "target 0.5 to 0.1": {"target_entropy": "linear:0.5->0.1@0.5"},
    "target 0.35": {"target_entropy": "fraction:0.35"},
    "target 0.7": {"target_entropy": "fraction:0.7"},
    "target 0.5, minimum of critics": {"target_entropy": "fraction:0.5", "critic_reduction": "min"},
    "target 0.5, initial alpha 1": {"target_entropy": "fraction:0.5", "ent_coef": "auto_1.0"},
    "target 0.5, initial alpha 0.01": {"target_entropy": "fraction:0.5", "ent_coef": "auto_0.01"},
    "target 0.5, alpha's rate 1e-4": {"target_entropy": "fraction:0.5", "ent_coef_learning_rate": 1e-4},
    "target 0.5, alpha's rate 3e-3": {"target_entropy": "fraction:0.5", "ent_coef_learning_rate": 3e-3},
}


def options_of(variant: str, n_actions: int) -> dict[str, Any]:
    """:return: arguments of SoftAC"""
    options = CENTRE | VARIANTS[variant]
    if options["target_entropy"] == "schedule":
        import math

        def fraction(progress_remaining: float) -> float:
            """From 0.6 to 0.2 over the first 60 % of training."""
            return math.log(n_actions) * max(0.2, 0.6 - 0.4 * (1 - progress_remaining) / 0.6)

        options["target_entropy"] = fraction
    return options


def run(env: str, variant: str, seed: int, steps: int, episodes: int) -> dict[str, Any]:
    import gymnasium as gym
    from stable_baselines3.common.env_util import make_vec_env

    from sac_ext import SoftAC

    options = SHARED | BY_ENV[env] | options_of(variant, int(gym.make(env).action_space.n))  # type: ignore[attr-defined]

    def make() -> SoftAC:
        networks = {"net_arch": [64, 64]}
        modes = {"device": "cpu", "execution": "compile"}
        environment = make_vec_env(env, seed=seed)
        return SoftAC("MlpPolicy", environment, seed=seed, policy_kwargs=networks, **modes, **options)

    result = train_and_evaluate(make, env, steps, seed, episodes)
    named = {name: value for name, value in options.items() if not callable(value)}
    return result | {"options": named | {"net_arch": [64, 64]}, "versions": versions()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", choices=STEPS, default="short")
    parser.add_argument("--envs", nargs="+", choices=STEPS["short"], default=list(STEPS["short"]))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--episodes", type=int, default=50)
    add_worker_options(parser)
    options = parser.parse_args()
    pin(options)
    warnings.filterwarnings("ignore", message="ent_coef is held")
    check_environments(options.envs)
    out = RESULTS / f"ablation-{options.steps}.jsonl"
    jobs = [
        {"env": env, "variant": variant, "seed": seed, "steps": STEPS[options.steps][env]}
        for seed in options.seeds
        for variant in options.variants
        for env in options.envs
    ]
    for job in missing(out, jobs, options.worker):
        result = run(**job, episodes=options.episodes)
        append(out, job | result)
        print(job, result["iqm"], f"{result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
