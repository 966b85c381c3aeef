"""
One contender of update_speed.py, in a process of its own.

    python benchmarks/update_speed_contenders.py NAME SHAPE DEVICE THREADS

Reads lines "GRADIENT_STEPS CALLS", and answers each with the seconds that CALLS calls of GRADIENT_STEPS steps took.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces

BATCH_SIZE = 256
TRANSITIONS = 2000

Train = Callable[[int], None]  # takes so many gradient steps


@dataclass(frozen=True)
class Shape:
    """
    :param observation: numbers in an observation, or the shape of an image
    :param action: dimensions of a Box
    :param n_actions: number of Discrete actions, instead of ``action``
    :param net_arch: hidden layers of actor and critics
    :param n_critics: number of critics
    """

    observation: int | tuple[int, ...]
    action: int = 0
    n_actions: int = 0
    net_arch: list[int] = field(default_factory=lambda: [256, 256])
    n_critics: int = 2

    def policy(self) -> str:
        return "MlpPolicy" if isinstance(self.observation, int) else "CnnPolicy"


SHAPES = {
    "halfcheetah": Shape(observation=17, action=6),
    "humanoid": Shape(observation=348, action=17),
    "wide": Shape(observation=17, action=6, net_arch=[1024, 1024]),
    "ten critics": Shape(observation=17, action=6, n_critics=10),
    "discrete 4": Shape(observation=8, n_actions=4),
    "discrete 18": Shape(observation=128, n_actions=18),
    "atari": Shape(observation=(4, 84, 84), n_actions=6),
}


class Dummy(gym.Env):
    """Random observations and rewards, in episodes of 100 steps."""

    def __init__(self, shape: Shape) -> None:
        if isinstance(shape.observation, int):
            self.observation_space = spaces.Box(-np.inf, np.inf, (shape.observation,), np.float32)
        else:
            self.observation_space = spaces.Box(0, 255, shape.observation, np.uint8)
        box = spaces.Box(-1.0, 1.0, (shape.action,), np.float32)
        self.action_space = spaces.Discrete(shape.n_actions) if shape.n_actions else box
        self.observation_space.seed(0)
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self.observation_space.sample(), float(np.random.randn()), False, self.steps == 100, {}


def sb3_style(algorithm: Any, shape: Shape, device: str, policy_kwargs: dict[str, Any], **kwargs: Any) -> Train:
    """An algorithm that trains as SB3's do, with a replay buffer of random transitions."""
    model = algorithm(
        shape.policy(),
        Dummy(shape),
        batch_size=BATCH_SIZE,
        buffer_size=TRANSITIONS,
        learning_starts=TRANSITIONS + 1,
        policy_kwargs={"net_arch": shape.net_arch, **policy_kwargs},
        seed=0,
        device=device,
        **kwargs,
    )
    model.learn(TRANSITIONS)
    return lambda gradient_steps: model.train(gradient_steps, BATCH_SIZE)


def sb3(shape: Shape, device: str) -> Train:
    from stable_baselines3 import SAC

    if shape.n_actions:
        raise LookupError("SB3's SAC has no discrete actions")
    return sb3_style(SAC, shape, device, {"n_critics": shape.n_critics})


def soft_ac(execution: str, **kwargs: Any) -> Callable[[Shape, str], Train]:
    def make(shape: Shape, device: str) -> Train:
        from sac_ext import SoftAC

        return sb3_style(SoftAC, shape, device, {"n_critics": shape.n_critics}, execution=execution, **kwargs)

    return make


def sbx(shape: Shape, device: str) -> Train:
    from sbx import SAC

    if shape.n_actions:
        raise LookupError("SBX's SAC has no discrete actions")
    return sb3_style(SAC, shape, device, {"n_critics": shape.n_critics})


def sdsac(shape: Shape, device: str) -> Train:
    from sb3_soft import SDSAC

    if not shape.n_actions:
        raise LookupError("SDSAC is for discrete actions")
    return sb3_style(SDSAC, shape, device, {})


def torchrl(shape: Shape, device: str) -> Train:
    """A loop as in TorchRL's example of SAC, with its losses, optimizers and replay buffer."""
    from tensordict import TensorDict
    from tensordict.nn import NormalParamExtractor, TensorDictModule
    from torch import nn
    from torchrl.data import Bounded as BoundedSpec
    from torchrl.data import Categorical, LazyTensorStorage, ReplayBuffer
    from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
    from torchrl.objectives import DiscreteSACLoss, SACLoss, SoftUpdate

    logging.getLogger("torchrl").setLevel(logging.WARNING)
    if not isinstance(shape.observation, int):
        raise LookupError("measured on vectors only")
    n, cells = shape.observation, shape.net_arch
    hidden: dict[str, Any] = {"num_cells": cells, "activation_class": nn.ReLU, "device": device}
    if shape.n_actions:
        logits = TensorDictModule(MLP(n, shape.n_actions, **hidden), ["observation"], ["logits"])
        actor = ProbabilisticActor(
            logits, in_keys=["logits"], distribution_class=th.distributions.Categorical, return_log_prob=True
        )
        critic = TensorDictModule(MLP(n, shape.n_actions, **hidden), ["observation"], ["action_value"])
        loss = DiscreteSACLoss(
            actor,
            critic,
            action_space=Categorical(shape.n_actions),
            num_actions=shape.n_actions,
            num_qvalue_nets=shape.n_critics,
        )
        action = th.randint(shape.n_actions, (TRANSITIONS,))
    else:
        network = nn.Sequential(MLP(n, 2 * shape.action, **hidden), NormalParamExtractor())
        actor = ProbabilisticActor(
            TensorDictModule(network, ["observation"], ["loc", "scale"]),
            in_keys=["loc", "scale"],
            spec=BoundedSpec(-1.0, 1.0, (shape.action,), device=device),
            distribution_class=TanhNormal,
            return_log_prob=True,
        )
        critic = ValueOperator(MLP(n + shape.action, 1, **hidden), ["observation", "action"])
        loss = SACLoss(actor, critic, num_qvalue_nets=shape.n_critics)
        action = th.rand(TRANSITIONS, shape.action) * 2 - 1
    loss.make_value_estimator(gamma=0.99)
    loss.to(device)
    update_targets = SoftUpdate(loss, tau=0.005)
    parameters = {
        "actor": list(loss.actor_network_params.flatten_keys().values()),
        "qvalue": list(loss.qvalue_network_params.flatten_keys().values()),
        "alpha": [loss.log_alpha],
    }
    optimizers = [th.optim.Adam(values, lr=3e-4) for values in parameters.values()]
    buffer = ReplayBuffer(storage=LazyTensorStorage(TRANSITIONS, device=device), batch_size=BATCH_SIZE)
    ended = th.zeros(TRANSITIONS, 1, dtype=th.bool)
    following = {"observation": th.randn(TRANSITIONS, n), "reward": th.randn(TRANSITIONS, 1)}
    following |= {"done": ended, "terminated": ended}
    buffer.extend(
        TensorDict(
            {"observation": th.randn(TRANSITIONS, n), "action": action, "next": following}, batch_size=[TRANSITIONS]
        )
    )

    def train(gradient_steps: int) -> None:
        for _ in range(gradient_steps):
            losses = loss(buffer.sample())
            (losses["loss_actor"] + losses["loss_qvalue"] + losses["loss_alpha"]).backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            update_targets.step()

    return train


CONTENDERS: dict[str, Callable[[Shape, str], Train]] = {
    "SB3 SAC": sb3,
    "SoftAC eager": soft_ac("eager"),
    "SoftAC compile": soft_ac("compile"),
    "SoftAC compile, bfloat16": soft_ac("compile", precision="medium"),
    "SoftAC cuda_graph": soft_ac("cuda_graph"),
    "SBX SAC": sbx,
    "SDSAC": sdsac,
    "TorchRL": torchrl,
}


def main() -> None:
    name, shape, device, threads = sys.argv[1:]
    th.set_num_threads(int(threads))
    warnings.simplefilter("ignore")
    try:
        train = CONTENDERS[name](SHAPES[shape], device)
    except (ImportError, LookupError) as error:
        print(f"not measured: {error}", flush=True)
        return
    print("ready", flush=True)
    for line in sys.stdin:
        gradient_steps, calls = map(int, line.split())
        start = time.perf_counter()
        for _ in range(calls):
            train(gradient_steps)
        if device == "cuda":
            th.cuda.synchronize()
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
