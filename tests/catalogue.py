"""What the tests run over: a new action or observation space is one line here."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ACTIONS: dict[str, spaces.Space] = {
    "box": spaces.Box(-2.0, 3.0, (2,), np.float32),
    "box-2d": spaces.Box(-1.0, 1.0, (2, 2), np.float32),
    "discrete": spaces.Discrete(4),
    "discrete-start": spaces.Discrete(3, start=-1),
    "multidiscrete": spaces.MultiDiscrete([3, 2], start=[1, -1]),
    "multibinary": spaces.MultiBinary(10),  # so many joint actions that its critics are local
}
DISCRETE = [name for name in ACTIONS if not name.startswith("box")]
FACTORED = [name for name in DISCRETE if name.startswith("multi")]
CRITICS = ("joint", "local", "additive")

OBSERVATIONS: dict[str, tuple[spaces.Space, str]] = {
    "vector": (spaces.Box(-1.0, 1.0, (3,), np.float32), "MlpPolicy"),
    "discrete": (spaces.Discrete(5), "MlpPolicy"),
    "image": (spaces.Box(0, 255, (36, 36, 1), np.uint8), "CnnPolicy"),
    "dict": (
        spaces.Dict(
            {
                "vector": spaces.Box(-1.0, 1.0, (3,), np.float32),
                "image": spaces.Box(0, 255, (36, 36, 1), np.uint8),
            }
        ),
        "MultiInputPolicy",
    ),
}

SMALL: dict[str, Any] = {"net_arch": [16]}
SMALL_CNN: dict[str, Any] = {"net_arch": [16], "features_extractor_kwargs": {"features_dim": 16}}
SMALL_DICT: dict[str, Any] = {"net_arch": [16], "features_extractor_kwargs": {"cnn_output_dim": 16}}


def small() -> dict[str, Any]:
    """A dict of one's own: SB3's algorithms write into theirs what other algorithms do not take."""
    return {"net_arch": [16]}


def small_networks(observations: str) -> dict[str, Any]:
    return {"image": SMALL_CNN, "dict": SMALL_DICT}.get(observations, SMALL)


class RandomEnv(gym.Env):
    """Random observations, rewards that depend on the action, some terminations; refuses actions it does not know."""

    def __init__(self, observations: str = "vector", actions: str = "box", episode_length: int = 12) -> None:
        self.observation_space = OBSERVATIONS[observations][0]
        self.action_space = ACTIONS[actions]
        self.episode_length = episode_length

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.step_count = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.step_count += 1
        reward = float(np.sum(action)) + float(self.np_random.normal())
        terminated = bool(self.np_random.random() < 0.05)
        truncated = self.step_count >= self.episode_length
        return self.observation_space.sample(), reward, terminated, truncated, {}


class MaskedEnv(RandomEnv):
    """Allows what depends on the observation alone, and nothing at a terminal one; refuses the rest."""

    def _reached(self, obs: Any) -> Any:
        self.obs = obs
        return obs

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        obs, info = super().reset(seed=seed)
        self.over = False
        return self._reached(obs), info

    def action_masks(self) -> np.ndarray:
        obs = self.obs["vector"] if isinstance(self.obs, dict) else self.obs
        mask = masks_at(obs[None], self.action_space)[0]
        return mask & (not self.over)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        sizes, starts = sizes_and_starts(self.action_space)
        positions = np.cumsum([0, *sizes[:-1]]) + np.reshape(action, -1) - starts
        assert self.action_masks()[positions].all(), f"{action} is not allowed"
        obs, reward, terminated, truncated, info = super().step(action)
        self.over = terminated
        return self._reached(obs), reward, terminated, truncated, info


def sizes_and_starts(space: spaces.Space) -> tuple[list[int], list[int]]:
    if isinstance(space, spaces.Discrete):
        return [int(space.n)], [int(space.start)]
    if isinstance(space, spaces.MultiDiscrete):
        return space.nvec.tolist(), space.start.tolist()
    assert isinstance(space, spaces.MultiBinary)
    return [2] * space.n, [0] * space.n


def masks_at(observations: np.ndarray, space: spaces.Space) -> np.ndarray:
    """
    :param observations: ``(B, ...)``, whose first number counts
    :return: ``(B, S)`` about half of the values, at least one per component
    """
    sizes, _ = sizes_and_starts(space)
    firsts = np.cumsum([0, *sizes[:-1]])
    numbers = np.sin(
        1000 * observations.reshape(len(observations), -1)[:, :1].astype(np.float64) * np.arange(1, 1 + sum(sizes))
    )
    masks = numbers > 0
    for first, size in zip(firsts, sizes, strict=True):
        best = first + numbers[:, first : first + size].argmax(axis=1)
        masks[np.arange(len(masks)), best] = True
    return masks
