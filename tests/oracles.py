"""Fixed points computed without reinforcement learning, and replay buffers filled with exactly a problem's transitions.

Learning is off-policy, so a buffer with every transition in the right proportions stands for the environment, and what
the algorithm converges to can be compared with numbers.
"""

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import FloatSchedule

from sac_ext import SoftAC

TABULAR: dict[str, Any] = {"net_arch": []}  # linear in a one-hot observation: a table


class Spaces(gym.Env):
    """Only the spaces: transitions come from the buffer."""

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space) -> None:
        self.observation_space = observation_space
        self.action_space = action_space


def soft_ac(env: gym.Env, policy: Any = "MlpPolicy", **kwargs: Any) -> SoftAC:
    options: dict[str, Any] = {"policy_kwargs": TABULAR, "seed": 0, "buffer_size": 50_000, "device": "cpu"}
    model = SoftAC(policy, env, **options | kwargs)
    model.set_logger(configure(None, []))
    return model


def add(
    model: SoftAC, obs: Any, action: Any, reward: float, next_obs: Any, done: bool, truncated: bool = False
) -> None:
    arrays = [np.asarray([value]) for value in (obs, next_obs, action, reward, done)]
    model.replay_buffer.add(*arrays, [{"TimeLimit.truncated": truncated}])


def train_in_phases(model: SoftAC, phases: dict[float, int], batch_size: int = 64) -> None:
    """``{learning rate: gradient steps}``, so that the noise of large steps dies down."""
    for learning_rate, gradient_steps in phases.items():
        model.lr_schedule = FloatSchedule(learning_rate)
        model.train(gradient_steps, batch_size)


@dataclass
class TabularMDP:
    """
    :param probabilities: ``(S, A, S)``, multiples of a quarter
    :param rewards: ``(S, A)``
    :param terminal: ``(S,)`` whether arriving there ends the episode
    :param gamma: discount factor
    """

    probabilities: np.ndarray
    rewards: np.ndarray
    terminal: np.ndarray
    gamma: float

    def env(self) -> gym.Env:
        n_states, n_actions = self.rewards.shape
        return Spaces(spaces.Box(0, 1, (n_states,), np.float32), spaces.Discrete(n_actions, start=2))

    def fill(self, model: SoftAC) -> None:
        """Four transitions per state and action; time limits cut off every fifth, which must not matter."""
        one_hot, count = np.eye(len(self.rewards), dtype=np.float32), 0
        for (state, action), reward in np.ndenumerate(self.rewards):
            for next_state, probability in enumerate(self.probabilities[state, action]):
                for _ in range(round(4 * probability)):
                    count += 1
                    done, truncated = bool(self.terminal[next_state]), False
                    if not done and count % 5 == 0:
                        done = truncated = True
                    add(model, one_hot[state], action + 2, reward, one_hot[next_state], done, truncated)

    def soft_optimum(self, ent_coef: float) -> tuple[np.ndarray, np.ndarray]:
        """``Q = r + gamma P V``, ``V = alpha logsumexp(Q / alpha)`` by iteration; ``Q`` and ``pi``, both ``(S, A)``."""
        q = np.zeros_like(self.rewards)
        for _ in range(2000):
            value = ent_coef * np.log(np.exp((q - q.max(1, keepdims=True)) / ent_coef).sum(1)) + q.max(1)
            q = self.rewards + self.gamma * self.probabilities @ np.where(self.terminal, 0.0, value)
        policy = np.exp((q - q.max(1, keepdims=True)) / ent_coef)
        return q, policy / policy.sum(1, keepdims=True)


def random_mdp(seed: int = 0, n_states: int = 6, n_actions: int = 3, gamma: float = 0.9) -> TabularMDP:
    rng = np.random.default_rng(seed)
    probabilities = rng.multinomial(4, np.ones(n_states) / n_states, size=(n_states, n_actions)) / 4
    terminal = np.arange(n_states) == n_states - 1
    return TabularMDP(probabilities, rng.normal(size=(n_states, n_actions)), terminal, gamma)


@th.no_grad()
def q_and_policy(model: SoftAC, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the model believes: the mean of its critics and its probabilities, both ``(S, A)``."""
    tensor = th.as_tensor(observations, dtype=th.float32)
    q = th.stack(model.critic(tensor)).mean(dim=0)
    return q.numpy(), model.head.pi(model.actor, tensor).probs.numpy()


def ent_coef(model: SoftAC) -> float:
    assert model.log_ent_coef is not None
    return math.exp(float(model.log_ent_coef.detach()))
