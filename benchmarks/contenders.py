"""
The algorithms that learning.py compares: SoftAC with its zoo entry, SB3's SAC with the same entry, DQN and PPO with
rl-baselines3-zoo's parameters, TD3 and DDPG with the learning rate and networks that SoftAC has on Pendulum.
"""

import functools
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from sac_ext.heads import make_head
from sac_ext.tuning.entries import arguments_of, load_entry, our_config
from sac_ext.zoo.registration import register

Make = Callable[[str, int], BaseAlgorithm]
"""Makes an algorithm with its environment, given the environment's name and a seed."""


def our_entry(env_id: str) -> dict[str, Any]:
    return arguments_of(load_entry(our_config(), env_id))


def entry_of(contender: str, env_id: str) -> dict[str, Any]:
    """:return: the arguments of a contender in ``WITH_OUR_ENTRY``"""
    return our_entry(env_id) | WITH_OUR_ENTRY[contender]


def defaults_beside(entry: dict[str, Any], env_id: str) -> dict[str, Any]:
    """:return: SoftAC's defaults in an environment for what an entry leaves out"""
    register()  # MinAtar's environments, where minatar is installed
    env = gym.make(env_id)
    found = asdict(make_head(env.action_space).defaults)
    env.close()
    found["ent_coef"] = f"auto_{found.pop('initial_ent_coef')}"
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in found.items() if name not in entry
    }


def soft_ac(env_id: str, seed: int, contender: str = "SoftAC") -> BaseAlgorithm:
    from sac_ext import SoftAC

    arguments = {"execution": "compile", **entry_of(contender, env_id)}
    return SoftAC(env=make_vec_env(env_id, seed=seed), seed=seed, device="cpu", **arguments)


def sac(env_id: str, seed: int) -> BaseAlgorithm:
    """SB3's SAC, with the entry that SoftAC has."""
    from stable_baselines3 import SAC

    env = make_vec_env(env_id, seed=seed)
    return SAC(env=env, seed=seed, device="cpu", **_with_schedules(our_entry(env_id)))


def of_the_zoo(name: str) -> Make:
    """:param name: name of an algorithm of SB3"""

    def make(env_id: str, seed: int) -> BaseAlgorithm:
        import stable_baselines3

        entry = load_entry(Path(str(files("rl_zoo3") / "hyperparams" / f"{name.lower()}.yml")), env_id)
        arguments = arguments_of(entry)
        env = make_vec_env(env_id, seed=seed, n_envs=entry.get("n_envs", 1))
        if entry.get("normalize", False):
            env = VecNormalize(env, gamma=arguments["gamma"])
        algorithm: type[BaseAlgorithm] = getattr(stable_baselines3, name)
        return algorithm(env=env, seed=seed, device="cpu", **_with_schedules(arguments))

    return make


def dqn_of_minatar(env_id: str, seed: int) -> BaseAlgorithm:
    """Young & Tian's hyperparameters for MinAtar (2019, arXiv:1903.03176), with SoftAC's networks and Adam."""
    from stable_baselines3 import DQN

    return DQN(
        "MlpPolicy",
        make_vec_env(env_id, seed=seed),
        learning_rate=2.5e-4,
        buffer_size=100_000,
        learning_starts=5000,
        batch_size=32,
        gamma=0.99,
        train_freq=1,
        target_update_interval=1000,
        exploration_fraction=0.2,  # of the 200k steps here; theirs are the first 100k of five million
        exploration_initial_eps=1.0,
        exploration_final_eps=0.1,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )


def sdsac(env_id: str, seed: int) -> BaseAlgorithm:
    from sb3_soft import SDSAC

    model: BaseAlgorithm = SDSAC("MlpPolicy", make_vec_env(env_id, seed=seed), seed=seed, device="cpu")
    return model


def deterministic(name: str) -> Make:
    """:param name: TD3 or DDPG"""

    def make(env_id: str, seed: int) -> BaseAlgorithm:
        import stable_baselines3
        from stable_baselines3.common.noise import NormalActionNoise

        env = make_vec_env(env_id, seed=seed)
        noise = NormalActionNoise(np.zeros(env.action_space.shape or 0), 0.1 * np.ones(env.action_space.shape or 0))
        algorithm: type[BaseAlgorithm] = getattr(stable_baselines3, name)
        networks = {"net_arch": [256, 256]}
        options: dict[str, Any] = {"learning_rate": 1e-3, "action_noise": noise, "policy_kwargs": networks}
        return algorithm("MlpPolicy", env, seed=seed, device="cpu", **options)

    return make


def _with_schedules(arguments: dict[str, Any]) -> dict[str, Any]:
    """:return: the arguments, with schedules for the zoo's ``lin_1e-3``, which SB3's algorithms do not parse"""
    from rl_zoo3.utils import linear_schedule

    def parsed(value: Any) -> Any:
        return linear_schedule(value.removeprefix("lin_")) if str(value).startswith("lin_") else value

    return {name: parsed(value) for name, value in arguments.items()}


_SMALL = {"policy_kwargs": {"net_arch": [64, 64]}}
_CONSTANT = {"target_entropy": "fraction:0.5"}
_THREE_STEPS = {"n_steps": 3, "exploration_eps": 0.0}
WITH_OUR_ENTRY: dict[str, dict[str, Any]] = {
    "SoftAC": {},
    "SAC": {},
    "SoftAC without entropy": {"ent_coef": 0.0, "policy_delay": 2},
    # one or several options of the entry changed
    "SoftAC, constant target": _CONSTANT,
    "SoftAC, 64-64": _SMALL,
    "SoftAC, 64-64, constant target": _SMALL | _CONSTANT,
    "SoftAC, no random actions": {"exploration_eps": 0.0},
    "SoftAC, 3-step returns, no random actions": _THREE_STEPS,
    "SoftAC, 3-step returns, no random actions, constant target": _THREE_STEPS | _CONSTANT,
}
"""What each contender changes in our entry; its results hold only for the current entry."""


def _of_ours(*names: str) -> dict[str, Make]:
    return {name: functools.partial(soft_ac, contender=name) for name in names}


DISCRETE: dict[str, Make] = {
    **_of_ours("SoftAC"),
    "DQN": of_the_zoo("DQN"),
    "PPO": of_the_zoo("PPO"),
    "SDSAC": sdsac,
}
VARIANTS: dict[str, dict[str, Make]] = {
    "CartPole-v1": _of_ours("SoftAC, constant target"),
    "Acrobot-v1": _of_ours("SoftAC, 64-64", "SoftAC, 64-64, constant target"),
    "LunarLander-v3": _of_ours(
        "SoftAC, no random actions",
        "SoftAC, 3-step returns, no random actions",
        "SoftAC, 3-step returns, no random actions, constant target",
    ),
}
MINATAR: dict[str, Make] = {**_of_ours("SoftAC"), "DQN": dqn_of_minatar}
CONTINUOUS: dict[str, Make] = {**_of_ours("SoftAC"), "SAC": sac}
WITHOUT_ENTROPY: dict[str, Make] = {
    **_of_ours("SoftAC without entropy"),
    "TD3": deterministic("TD3"),
    "DDPG": deterministic("DDPG"),
}
