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


class MaskedSpaces(Spaces):
    """Masks come from the buffer too."""

    def action_masks(self) -> np.ndarray:
        raise AssertionError("nobody acts here")


def soft_ac(env: gym.Env, policy: Any = "MlpPolicy", **kwargs: Any) -> SoftAC:
    options: dict[str, Any] = {"policy_kwargs": TABULAR, "seed": 0, "buffer_size": 50_000, "device": "cpu"}
    options["entropy_in_critic"] = 1.0  # the soft values that the oracles have
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
    :param action_space: with A actions, or joint actions
    :param masks: ``(S, number of values of all components)`` what is allowed, or None for everything
    """

    probabilities: np.ndarray
    rewards: np.ndarray
    terminal: np.ndarray
    gamma: float
    action_space: spaces.Discrete | spaces.MultiDiscrete
    masks: np.ndarray | None = None

    def env(self) -> gym.Env:
        observation_space = spaces.Box(0, 1, (len(self.rewards),), np.float32)
        return (Spaces if self.masks is None else MaskedSpaces)(observation_space, self.action_space)

    def actions(self) -> list[Any]:
        """In the order of the tables."""
        if isinstance(self.action_space, spaces.Discrete):
            return [self.action_space.start + index for index in range(self.action_space.n)]
        return list(np.ndindex(*self.action_space.nvec))

    def allowed(self) -> np.ndarray:
        """``(S, A)``."""
        if self.masks is None:
            return np.ones(self.rewards.shape, dtype=bool)
        sizes = [self.action_space.n] if isinstance(self.action_space, spaces.Discrete) else self.action_space.nvec
        joint = np.ones((len(self.masks), 1), dtype=bool)
        for mask in np.split(self.masks, np.cumsum(sizes)[:-1], axis=1):
            joint = (joint[:, :, None] & mask[:, None, :]).reshape(len(mask), -1)
        return joint

    def fill(self, model: SoftAC) -> None:
        """Four transitions per state and allowed action; time limits cut off every fifth, which must not matter."""
        one_hot, count = np.eye(len(self.rewards), dtype=np.float32), 0
        actions = self.actions()
        for state, index in np.argwhere(self.allowed()):
            for next_state, probability in enumerate(self.probabilities[state, index]):
                for _ in range(round(4 * probability)):
                    count += 1
                    done, truncated = bool(self.terminal[next_state]), False
                    if not done and count % 5 == 0:
                        done = truncated = True
                    if self.masks is not None:
                        both = {
                            "action_masks": self.masks[None, state],
                            "next_action_masks": self.masks[None, next_state],
                        }
                        model.replay_buffer.note(**both)
                    reward = self.rewards[state, index]
                    add(model, one_hot[state], actions[index], reward, one_hot[next_state], done, truncated)

    def soft_optimum(self, ent_coef: float) -> tuple[np.ndarray, np.ndarray]:
        """``Q = r + gamma P V``, ``V = alpha logsumexp(Q / alpha)`` by iteration; ``Q`` and ``pi``, both ``(S, A)``."""
        q, allowed = np.zeros_like(self.rewards), self.allowed()
        for _ in range(2000):
            best = np.where(allowed, q, -np.inf).max(1, keepdims=True)
            powers = np.where(allowed, np.exp((q - best) / ent_coef), 0.0)
            value = ent_coef * np.log(powers.sum(1)) + best[:, 0]
            q = self.rewards + self.gamma * self.probabilities @ np.where(self.terminal, 0.0, value)
        return q, powers / powers.sum(1, keepdims=True)


def random_mdp(
    seed: int = 0,
    n_states: int = 6,
    gamma: float = 0.9,
    action_space: spaces.Discrete | spaces.MultiDiscrete | None = None,
    masked: bool = False,
) -> TabularMDP:
    """
    :param action_space: by default Discrete(3), counted from 2
    :param masked: whether every other state does not allow the last value of the last component, nor the first of all
    """
    rng = np.random.default_rng(seed)
    space = action_space or spaces.Discrete(3, start=2)
    sizes = [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.tolist()
    n_actions = math.prod(sizes)
    probabilities = rng.multinomial(4, np.ones(n_states) / n_states, size=(n_states, n_actions)) / 4
    terminal = np.arange(n_states) == n_states - 1
    masks = None
    if masked:
        masks = np.ones((n_states, sum(sizes)), dtype=bool)
        masks[::2, [0, -1]] = False
    return TabularMDP(probabilities, rng.normal(size=(n_states, n_actions)), terminal, gamma, space, masks)


@th.no_grad()
def q_and_policy(
    model: SoftAC, observations: np.ndarray, action_masks: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What the model believes: the mean of its joint critics and its probabilities, both ``(S, A)``."""
    tensor = th.as_tensor(observations, dtype=th.float32)
    q = th.stack(model.critic(tensor)).mean(dim=0)
    masks = None if action_masks is None else th.as_tensor(action_masks)
    return q.numpy(), model.head.pi(model.actor, tensor, masks).probs.squeeze(1).numpy()


def ent_coef(model: SoftAC) -> float:
    assert model.log_ent_coef is not None
    return math.exp(float(model.log_ent_coef.detach()))
