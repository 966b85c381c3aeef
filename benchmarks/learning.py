"""
What do algorithms reach, in the same harness and on the same seeds?

    python benchmarks/learning.py --envs CartPole-v1 --seeds 100 101 102 103 104 --worker 0/2 &
    python benchmarks/learning.py --envs CartPole-v1 --seeds 100 101 102 103 104 --worker 1/2

SoftAC has its entry of ``zoo_configs/softac.yml``, compiled steps, and the defaults for what that leaves out; SB3's DQN
has rl-baselines3-zoo's parameters, sb3-soft's SDSAC its defaults. On Pendulum, SoftAC without entropy and with a
delayed policy stands beside TD3 and DDPG. Runs that the results have already are skipped.
"""

import argparse
import warnings
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
import yaml
from runs import (
    RESULTS,
    add_worker_options,
    append,
    check_environments,
    missing,
    our_config,
    pin,
    train_and_evaluate,
    versions,
    zoo_entry,
)

STEPS = {"CartPole-v1": 50_000, "Acrobot-v1": 100_000, "LunarLander-v3": 200_000, "Pendulum-v1": 10_000}


def soft_ac(env: Any, env_id: str, seed: int, **changes: Any) -> Any:
    from sac_ext import SoftAC

    _, arguments = zoo_entry(our_config(), env_id)
    return SoftAC(env=env, seed=seed, device="cpu", **{"execution": "compile", **arguments, **changes})


def constant_target(env: Any, env_id: str, seed: int) -> Any:
    return soft_ac(env, env_id, seed, target_entropy="fraction:0.5")


def without_entropy(env: Any, env_id: str, seed: int) -> Any:
    return soft_ac(env, env_id, seed, ent_coef=0.0, policy_delay=2)


def dqn(env: Any, env_id: str, seed: int) -> Any:
    from stable_baselines3 import DQN

    config = yaml.safe_load((files("rl_zoo3") / "hyperparams" / "dqn.yml").read_text())
    _, arguments = zoo_entry(config, env_id)
    return DQN(env=env, seed=seed, device="cpu", **arguments)


def sdsac(env: Any, env_id: str, seed: int) -> Any:
    from sb3_soft import SDSAC

    return SDSAC("MlpPolicy", env, seed=seed, device="cpu")


def deterministic(name: str) -> Callable[..., Any]:
    def make(env: Any, env_id: str, seed: int) -> Any:
        import stable_baselines3
        from stable_baselines3.common.noise import NormalActionNoise

        noise = NormalActionNoise(np.zeros(env.action_space.shape), 0.1 * np.ones(env.action_space.shape))
        algorithm = getattr(stable_baselines3, name)
        return algorithm(
            "MlpPolicy",
            env,
            learning_rate=1e-3,
            action_noise=noise,
            seed=seed,
            device="cpu",
            policy_kwargs={"net_arch": [256, 256]},
        )

    return make


DISCRETE = {"SoftAC": soft_ac, "SoftAC, constant target": constant_target, "DQN": dqn, "SDSAC": sdsac}
CONTENDERS: dict[str, dict[str, Callable[..., Any]]] = {
    "CartPole-v1": DISCRETE,
    "Acrobot-v1": DISCRETE,
    "LunarLander-v3": DISCRETE,
    "Pendulum-v1": {
        "SoftAC": soft_ac,
        "SoftAC without entropy": without_entropy,
        "TD3": deterministic("TD3"),
        "DDPG": deterministic("DDPG"),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--contenders", nargs="+", help="default: all that play the environment")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102, 103, 104])
    parser.add_argument("--steps", type=int, help="of every run; default: 50k, 100k, 200k and 10k")
    parser.add_argument("--episodes", type=int, default=100)
    add_worker_options(parser)
    options = parser.parse_args()
    pin(options)
    warnings.filterwarnings("ignore", message="ent_coef is held")
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
        make = CONTENDERS[job["env"]][job["contender"]]

        def construct(env: Any, make: Callable[..., Any] = make, job: dict[str, Any] = job) -> Any:
            return make(env, job["env"], job["seed"])

        result = train_and_evaluate(construct, job["env"], job["steps"], job["seed"], options.episodes)
        append(out, job | result | {"versions": versions()})
        print(job, result["iqm"], f"{result['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
