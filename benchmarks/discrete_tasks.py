"""Small environments for what Gymnasium's own environments with Discrete actions do not show."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Sum(gym.Env[np.ndarray, np.ndarray]):
    """
    Interactions only: the reward is 1 if the sum of all components, modulo the number of values, is the number that is
    shown. No component alone tells anything about the reward.

    :param n_components: K
    :param n_values: number of values of each component
    """

    def __init__(self, n_components: int = 2, n_values: int = 4) -> None:
        self.action_space = spaces.MultiDiscrete([n_values] * n_components)
        self.observation_space = spaces.Box(0, 1, (n_values,), np.float32)
        self.n_values = n_values

    def _show(self) -> np.ndarray:
        self.shown = int(self.np_random.integers(self.n_values))
        return np.eye(self.n_values, dtype=np.float32)[self.shown]

    def _reward(self, action: np.ndarray) -> float:
        return float(action.sum() % self.n_values == self.shown)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps = 0
        return self._show(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = self._reward(action)
        self.steps += 1
        return self._show(), reward, False, self.steps == 50, {}


class Pairs(Sum):
    """
    :class:`Sum` in pairs, with any number of joint actions: each component and its neighbour are to add up to the
    number that is shown, and the reward is the share of pairs that do.

    :param n_components: K, an even number
    :param n_values: number of values of each component
    """

    def __init__(self, n_components: int = 16, n_values: int = 4) -> None:
        super().__init__(n_components, n_values)

    def _reward(self, action: np.ndarray) -> float:
        return float(np.mean(action.reshape(-1, 2).sum(axis=1) % self.n_values == self.shown))


class Spins(gym.Env[np.ndarray, np.ndarray]):
    """
    Interactions between neighbours, with any number of joint actions: a chain of bits, in which neighbours are to be
    alike or different, as the observation says. The reward is the share of pairs that are right, so no bit alone tells
    anything about it (the Ising chain of physics).

    :param n_bits: K, for 2^K joint actions
    """

    def __init__(self, n_bits: int = 32) -> None:
        self.action_space = spaces.MultiBinary(n_bits)
        self.observation_space = spaces.Box(0, 1, (2,), np.float32)

    def _show(self) -> np.ndarray:
        self.alike = bool(self.np_random.integers(2))
        return np.eye(2, dtype=np.float32)[int(self.alike)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps = 0
        return self._show(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = float(np.mean((action[1:] == action[:-1]) == self.alike))
        self.steps += 1
        return self._show(), reward, False, self.steps == 50, {}


class Board(gym.Env[np.ndarray, int]):
    """
    A board of 19 by 19 points that is nearly full, and a pass: 362 actions, of which at most 21 are legal. The
    observation shows which points are free. A stone on such a point is worth more the nearer it is to the centre, from
    0 in the corners to 1; passing is worth nothing. All moves are counted.

    :param size: points along a side of the board
    :param n_free: free points at the start
    :param moves: moves of an episode
    :param allow_illegal: whether an illegal move is a lost move instead of an error
    """

    def __init__(self, size: int = 19, n_free: int = 20, moves: int = 10, allow_illegal: bool = False) -> None:
        self.n_points, self.n_free, self.moves, self.allow_illegal = size * size, n_free, moves, allow_illegal
        self.action_space = spaces.Discrete(self.n_points + 1)
        self.observation_space = spaces.Box(0, 1, (self.n_points,), np.float32)
        places = np.indices((size, size)).reshape(2, -1) - (size - 1) / 2
        distances = np.hypot(*places)
        self.worth = np.append(1 - distances / distances.max(), 0)
        self.n_moves = self.n_illegal = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.free = np.zeros(self.n_points, dtype=np.float32)
        self.free[self.np_random.choice(self.n_points, self.n_free, replace=False)] = 1
        self.move = 0
        return self.free.copy(), {}

    def action_masks(self) -> np.ndarray:
        return np.append(self.free == 1, True)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        legal = self.action_masks()[action]
        if not legal and not self.allow_illegal:
            raise ValueError(f"point {action} is taken")
        self.n_moves += 1
        self.n_illegal += not legal
        reward = float(self.worth[action]) if legal else 0.0
        if legal and action < self.n_points:
            self.free[action] = 0
        self.move += 1
        return self.free.copy(), reward, self.move == self.moves, False, {}

    def best_and_random(self, episodes: int = 2000) -> tuple[float, float]:
        """:return: mean returns of always taking the best legal move, and a random one"""
        returns = []
        for best in (True, False):
            for episode in range(episodes):
                self.reset(seed=episode if episode == 0 else None)
                total, ends = 0.0, False
                while not ends:
                    legal = np.flatnonzero(self.action_masks())
                    action = legal[self.worth[legal].argmax()] if best else self.np_random.choice(legal)
                    _, reward, ends, _, _ = self.step(action)
                    total += reward
                returns.append(total)
        return float(np.mean(returns[:episodes])), float(np.mean(returns[episodes:]))


class BoardWithoutMasks(gym.Wrapper[np.ndarray, int, np.ndarray, int]):
    """:class:`Board` for algorithms that are not told what is legal; an illegal move is a lost move."""

    def __init__(self) -> None:
        super().__init__(Board(allow_illegal=True))

    def __getattr__(self, name: str) -> Any:
        if name == "action_masks":
            raise AttributeError(name)
        return super().__getattr__(name)

    def get_wrapper_attr(self, name: str) -> Any:
        if name == "action_masks":
            raise AttributeError(name)
        return super().get_wrapper_attr(name)
