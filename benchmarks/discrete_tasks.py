"""Small environments for what Discrete spaces of Gymnasium's own do not show."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Sum(gym.Env[np.ndarray, np.ndarray]):
    """
    Interactions only: 1 where the sum of all components is the number that is shown, modulo the number of values. No
    component alone tells anything about the reward.

    :param n_components: K
    :param n_values: of each component
    """

    def __init__(self, n_components: int = 2, n_values: int = 4) -> None:
        self.action_space = spaces.MultiDiscrete([n_values] * n_components)
        self.observation_space = spaces.Box(0, 1, (n_values,), np.float32)
        self.n_values = n_values

    def _show(self) -> np.ndarray:
        self.shown = int(self.np_random.integers(self.n_values))
        return np.eye(self.n_values, dtype=np.float32)[self.shown]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.steps = 0
        return self._show(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        reward = float(action.sum() % self.n_values == self.shown)
        self.steps += 1
        return self._show(), reward, False, self.steps == 50, {}


class Spins(gym.Env[np.ndarray, np.ndarray]):
    """
    Interactions between neighbours, in as many joint actions as one likes: a chain of bits, and the observation says
    whether neighbours are to be alike or different. The reward is the share of pairs that are right, so no bit alone
    tells anything about it (the Ising chain of physics).

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
    A board of 19 by 19 points that is nearly full, and a pass: 362 actions, of which at most 21 are legal. Each free
    point shows what a stone there is worth; it is taken afterwards. Passing is worth nothing. All moves are counted.

    :param size: of the board
    :param n_free: free points at the start
    :param moves: of an episode
    :param allow_illegal: whether an illegal move is a lost move instead of an error
    """

    def __init__(self, size: int = 19, n_free: int = 20, moves: int = 10, allow_illegal: bool = False) -> None:
        self.n_points, self.n_free, self.moves, self.allow_illegal = size * size, n_free, moves, allow_illegal
        self.action_space = spaces.Discrete(self.n_points + 1)
        self.observation_space = spaces.Box(-1, 1, (self.n_points,), np.float32)
        self.n_moves = self.n_illegal = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.board = np.full(self.n_points, -1, dtype=np.float32)
        free = self.np_random.choice(self.n_points, self.n_free, replace=False)
        self.board[free] = self.np_random.random(self.n_free)
        self.move = 0
        return self.board.copy(), {}

    def action_masks(self) -> np.ndarray:
        return np.append(self.board >= 0, True)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        legal = self.action_masks()[action]
        if not legal and not self.allow_illegal:
            raise ValueError(f"point {action} is taken")
        self.n_moves += 1
        self.n_illegal += not legal
        reward = 0.0
        if legal and action < self.n_points:
            reward, self.board[action] = float(self.board[action]), -1
        self.move += 1
        return self.board.copy(), reward, self.move == self.moves, False, {}


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
