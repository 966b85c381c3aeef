"""
Which defaults make SoftAC learn on discrete actions? Variants of one set of options, most of which change a single
option, on three environments.

    python benchmarks/ablation.py --round second --worker 0/2 &
    python benchmarks/ablation.py --round second --worker 1/2

Runs that are already in the results with the same options are skipped, so the same command goes on after an
interruption. All runs are short, and share the hyperparameters below and small networks. The first two rounds find out
what is worth the ten seeds of the last one. Table: ``python benchmarks/ablation_table.py --round second``.
"""

import argparse
import warnings
from dataclasses import dataclass
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
RATES = {"CartPole-v1": "lin_2e-3", "Acrobot-v1": "lin_1e-3", "LunarLander-v3": "lin_1e-3"}


@dataclass(frozen=True)
class Round:
    steps: dict[str, int]
    lunar_lander: dict[str, Any]
    """Options that LunarLander's entry had, or has, and the other entries have not."""
    centre: dict[str, Any]
    """Options that all variants share, apart from what each changes."""
    variants: dict[str, dict[str, Any]]
    seeds: range


CENTRE: dict[str, Any] = {
    "ent_coef": "auto_0.1",
    "target_entropy": "linear:0.5->0.1@0.5",
    "critic_reduction": "mean",
    "entropy_in_critic": 0.0,
}
PAPER: dict[str, Any] = {
    "entropy_in_critic": 1.0,
    "target_entropy": "fraction:0.98",
    "ent_coef": "auto_1.0",
    "critic_reduction": "min",
}
SHORT = {"CartPole-v1": 30_000, "Acrobot-v1": 30_000, "LunarLander-v3": 80_000}
ROUNDS = {
    # variants around a target of a fifth of the maximum entropy
    "first": Round(
        steps=SHORT,
        lunar_lander={"n_steps": 3},
        centre=CENTRE | {"target_entropy": "fraction:0.2"},
        variants={
            "centre": {},
            "entropy in critic 1": {"entropy_in_critic": 1.0},
            "target 0.1": {"target_entropy": "fraction:0.1"},
            "target 0.5": {"target_entropy": "fraction:0.5"},
            "target 0.98": {"target_entropy": "fraction:0.98"},
            "target 0.6 to 0.2": {"target_entropy": "linear:0.6->0.2@0.6"},
            "initial alpha 1": {"ent_coef": "auto_1.0"},
            "entropy in critic 1, target 0.5": {"entropy_in_critic": 1.0, "target_entropy": "fraction:0.5"},
            "paper": PAPER,
        },
        seeds=range(2),
    ),
    # variants around the result of the first round, without those that failed in it by far
    "second": Round(
        steps=SHORT,
        lunar_lander={"exploration_eps": 0.1},
        centre=CENTRE,
        variants={
            "centre": {},
            "target 0.2": {"target_entropy": "fraction:0.2"},
            "target 0.5": {"target_entropy": "fraction:0.5"},
            "entropy in critic 1": {"entropy_in_critic": 1.0},
            "minimum of critics": {"critic_reduction": "min"},
            "initial alpha 1": {"ent_coef": "auto_1.0"},
            "initial alpha 0.01": {"ent_coef": "auto_0.01"},
            "alpha's rate 1e-4": {"ent_coef_learning_rate": "lin_1e-4"},
            "alpha's rate 3e-3": {"ent_coef_learning_rate": "lin_3e-3"},
        },
        seeds=range(2),
    ),
    # the four best of the second round
    "final": Round(
        steps=SHORT,
        lunar_lander={"exploration_eps": 0.1},
        centre=CENTRE,
        variants={
            "centre": {},
            "entropy in critic 1": {"entropy_in_critic": 1.0},
            "alpha's rate 1e-4": {"ent_coef_learning_rate": "lin_1e-4"},
            "target 0.2": {"target_entropy": "fraction:0.2"},
        },
        seeds=range(10, 20),
    ),
}


NETWORKS = {"net_arch": [64, 64]}


def options_of(round_: Round, env: str, variant: str) -> dict[str, Any]:
    """:return: arguments of SoftAC and its networks; alpha has their learning rate unless a variant says otherwise"""
    rates = {"learning_rate": RATES[env], "ent_coef_learning_rate": RATES[env]}
    options = SHARED | rates | round_.centre | round_.variants[variant] | NETWORKS
    return options | round_.lunar_lander if env == "LunarLander-v3" else options


EPISODES = 50


def job(round_: Round, env: str, variant: str, seed: int, episodes: int = EPISODES) -> dict[str, Any]:
    """:return: what identifies a result"""
    options = options_of(round_, env, variant)
    found = {"env": env, "variant": variant, "seed": seed, "steps": round_.steps[env]}
    return found | {"options": options, "episodes": episodes}


def run(env: str, seed: int, steps: int, options: dict[str, Any], episodes: int) -> dict[str, Any]:
    from stable_baselines3.common.env_util import make_vec_env

    from sac_ext import SoftAC

    arguments = {name: value for name, value in options.items() if name not in NETWORKS}

    def make() -> SoftAC:
        modes = {"device": "cpu", "execution": "compile"}
        environment = make_vec_env(env, seed=seed)
        return SoftAC("MlpPolicy", environment, seed=seed, policy_kwargs=dict(NETWORKS), **modes, **arguments)

    return train_and_evaluate(make, env, steps, seed, episodes) | {"versions": versions()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--round", choices=ROUNDS, required=True)
    parser.add_argument("--envs", nargs="+", choices=SHORT, default=list(SHORT))
    parser.add_argument("--variants", nargs="+", help="default: all of the round")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: those of the round")
    parser.add_argument("--episodes", type=int, default=EPISODES)
    add_worker_options(parser)
    options = parser.parse_args()
    round_ = ROUNDS[options.round]
    unknown = set(options.variants or ()) - round_.variants.keys()
    if unknown:
        parser.error(f"no variants {sorted(unknown)} in this round, only {list(round_.variants)}")
    pin(options)
    warnings.filterwarnings("ignore", message="ent_coef is held")
    check_environments(options.envs)
    out = RESULTS / f"ablation-{options.round}.jsonl"
    jobs = [
        job(round_, env, variant, seed, options.episodes)
        for seed in options.seeds or round_.seeds
        for variant in options.variants or round_.variants
        for env in options.envs
    ]
    for each in missing(out, jobs, options.worker):
        result = run(each["env"], each["seed"], each["steps"], each["options"], options.episodes)
        append(out, each | result)
        print(each["env"], each["variant"], each["seed"], result["iqm"], f"{result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
