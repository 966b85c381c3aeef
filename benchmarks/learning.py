"""
What do algorithms reach, in the same harness and on the same seeds?

    python benchmarks/learning.py --envs CartPole-v1 --seeds 100 101 102 103 104 --worker 0/2 &
    python benchmarks/learning.py --envs CartPole-v1 --seeds 100 101 102 103 104 --worker 1/2

SoftAC has its entry of ``zoo_configs/softac.yml``, compiled steps, and its defaults for what the entry leaves out.
SB3's SAC has the same entry, DQN and PPO have rl-baselines3-zoo's parameters (on MinAtar, DQN has those of MinAtar's
authors), and sb3-soft's SDSAC has its defaults. On Pendulum, SoftAC without entropy and with a delayed policy is
compared with TD3 and DDPG. Runs that are already in the results with the same entry are skipped.
"""

import argparse
import functools
import warnings
from typing import Any

import torch as th
from contenders import (
    CONTINUOUS,
    DISCRETE,
    MINATAR,
    VARIANTS,
    WITH_OUR_ENTRY,
    WITHOUT_ENTROPY,
    Make,
    defaults_beside,
    entry_of,
)
from runs import RESULTS, add_worker_options, append, check_environments, missing, pin, train_and_evaluate, versions

from sac_ext.zoo.registration import register

STEPS = {
    "CartPole-v1": 50_000,
    "Acrobot-v1": 100_000,
    "LunarLander-v3": 200_000,
    "Pendulum-v1": 20_000,
    "MountainCarContinuous-v0": 50_000,
    "LunarLanderContinuous-v3": 200_000,
    "HalfCheetah-v5": 100_000,
    "MinAtar/Breakout-v1": 200_000,
}
CONTENDERS: dict[str, dict[str, Make]] = {
    **{env: DISCRETE | variants for env, variants in VARIANTS.items()},
    "Pendulum-v1": CONTINUOUS | WITHOUT_ENTROPY,
    "MountainCarContinuous-v0": CONTINUOUS,
    "LunarLanderContinuous-v3": CONTINUOUS,
    "HalfCheetah-v5": CONTINUOUS,
    "MinAtar/Breakout-v1": MINATAR,
}


EPISODES = 100


def job(env: str, contender: str, seed: int, steps: int, episodes: int = EPISODES) -> dict[str, Any]:
    """:return: what identifies a result; for contenders with our entry, also that entry, and SoftAC's own defaults"""
    found = {"env": env, "contender": contender, "seed": seed, "steps": steps, "episodes": episodes}
    if contender not in WITH_OUR_ENTRY:
        return found
    entry = entry_of(contender, env)
    return found | {"entry": entry} | ({"defaults": defaults_beside(entry, env)} if contender != "SAC" else {})


def up_to_date(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """:return: results of full length whose entry and defaults are the current ones"""
    return [
        line
        for line in lines
        if job(line["env"], line["contender"], line["seed"], STEPS[line["env"]]).items() <= line.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", choices=STEPS, default=list(STEPS))
    names = list(dict.fromkeys(name for contenders in CONTENDERS.values() for name in contenders))
    parser.add_argument(
        "--contenders", nargs="+", choices=names, help="default: all of the environment except variants of SoftAC"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102, 103, 104])
    parser.add_argument("--steps", type=int, help=f"steps of every run; default: {STEPS}")
    parser.add_argument("--episodes", type=int, default=EPISODES)
    add_worker_options(parser)
    options = parser.parse_args()
    pin(options)
    th.set_flush_denormal(True)  # numbers below 1e-38, which make Adam much slower
    warnings.filterwarnings("ignore", message="ent_coef is held")
    register()  # MinAtar's environments, where minatar is installed
    check_environments(options.envs)
    jobs = [
        job(env, contender, seed, options.steps or STEPS[env], options.episodes)
        for env in options.envs
        for seed in options.seeds
        for contender in CONTENDERS[env]
        if contender in (options.contenders or set(CONTENDERS[env]) - VARIANTS.get(env, {}).keys())
    ]
    out = RESULTS / "learning.jsonl"
    for each in missing(out, jobs, options.worker):
        env, contender, seed = each["env"], each["contender"], each["seed"]
        make = functools.partial(CONTENDERS[env][contender], env, seed)
        result = train_and_evaluate(make, env, each["steps"], seed, options.episodes)
        append(out, each | result | {"versions": versions()})
        print(env, contender, seed, result["iqm"], f"{result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
