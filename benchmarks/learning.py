"""
What do algorithms reach, in the same harness and on the same seeds?

    python benchmarks/learning.py --envs CartPole-v1 --seeds 100 101 102 103 104 --worker 0/2 &
    python benchmarks/learning.py --envs CartPole-v1 --seeds 100 101 102 103 104 --worker 1/2

SoftAC has its entry of ``zoo_configs/softac.yml``, compiled steps, and the defaults for what that leaves out; SB3's SAC
has the same entry, DQN and PPO rl-baselines3-zoo's parameters (on MinAtar, DQN has those of its authors), sb3-soft's
SDSAC its defaults. On Pendulum, SoftAC without entropy and with a delayed policy stands beside TD3 and DDPG. Runs that
the results have already are skipped.
"""

import argparse
import functools
import warnings

from contenders import CONTINUOUS, DISCRETE, MINATAR, WITHOUT_ENTROPY, Make
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
    "MinAtar/Breakout-v1": 500_000,
}
CONTENDERS: dict[str, dict[str, Make]] = {
    "CartPole-v1": DISCRETE,
    "Acrobot-v1": DISCRETE,
    "LunarLander-v3": DISCRETE,
    "Pendulum-v1": CONTINUOUS | WITHOUT_ENTROPY,
    "MountainCarContinuous-v0": CONTINUOUS,
    "LunarLanderContinuous-v3": CONTINUOUS,
    "HalfCheetah-v5": CONTINUOUS,
    "MinAtar/Breakout-v1": MINATAR,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--contenders", nargs="+", help="default: all that play the environment")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102, 103, 104])
    parser.add_argument("--steps", type=int, help=f"of every run; default: {STEPS}")
    parser.add_argument("--episodes", type=int, default=100)
    add_worker_options(parser)
    options = parser.parse_args()
    pin(options)
    warnings.filterwarnings("ignore", message="ent_coef is held")
    register()  # MinAtar's environments, where minatar is installed
    check_environments(options.envs)
    jobs = [
        {"env": env, "contender": contender, "seed": seed, "steps": options.steps or STEPS[env]}
        for env in options.envs
        for seed in options.seeds
        for contender in CONTENDERS[env]
        if options.contenders is None or contender in options.contenders
    ]
    out = RESULTS / "learning.jsonl"
    for job in missing(out, jobs, options.worker):
        make = functools.partial(CONTENDERS[job["env"]][job["contender"]], job["env"], job["seed"])
        result = train_and_evaluate(make, job["env"], job["steps"], job["seed"], options.episodes)
        append(out, job | result | {"versions": versions()})
        print(job, result["iqm"], f"{result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
