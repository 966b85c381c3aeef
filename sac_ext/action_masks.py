"""Action masks, by sb3-contrib's convention: ``action_masks()`` of an environment says which actions it allows now.

``E`` environments, ``S`` the number of values of all components of an action together: a mask lists them one component
after the other, for MultiBinary 0 and 1 of each bit.
"""

import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.vec_env import VecEnv

IN_INFO = "action_masks"


class ActionMasksInInfo(gym.Wrapper[Any, Any, Any, Any]):
    """
    Tells in ``info["action_masks"]`` the mask of an observation at which a time limit cut the episode off: its value
    depends on it, and vectorised environments reset then, after which nobody can ask. Single environments are wrapped
    by SoftAC; vectorised ones take it for each environment, as by ``make_vec_env(..., wrapper_class=...)``.

    :param env: an environment with ``action_masks()``
    """

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        if truncated and not terminated:  # there may be no masks to ask for at the end of a game
            info = info | {IN_INFO: np.array(get_action_masks(self.env))}  # a copy: the reset may write into it
        return obs, reward, terminated, truncated, info


def with_masks_in_info(env: Any) -> Any:
    """:return: a single environment of discrete actions that has masks with them in its infos, any other as it is"""
    if isinstance(env, gym.Env) and can_be_masked(env.action_space) and are_supported(env):
        return ActionMasksInInfo(env)
    return env


def can_be_masked(space: spaces.Space[Any]) -> bool:
    """:return: whether actions are numbered, so that masks can be of them"""
    return np.issubdtype(space.dtype or np.float32, np.integer)


def are_supported(env: Any) -> bool:
    """:return: whether an environment, or each of a vectorised one, has ``action_masks()``"""
    return bool(is_masking_supported(env))


def check(action_masks: Any, sizes: tuple[int, ...], space: spaces.Space[Any]) -> np.ndarray:
    """
    :param action_masks: of one or several observations
    :param sizes: number of values of each component
    :param space: Action space, for the error
    :return: ``(B, S)`` bool
    :raises ValueError: for a wrong shape, or where a component is left no value
    :raises TypeError: for masks that are not of bool, or 0 and 1
    """
    masks, size = np.asarray(action_masks), sum(sizes)
    if size == 0:
        raise ValueError(f"actions of {space} cannot be masked: leave action_masks out")
    if masks.ndim not in (1, 2) or masks.shape[-1] != size:
        raise ValueError(
            f"action_masks must have shape ({size},) for {space}, the values of each component one after the other, or "
            f"that for each environment or observation, got {masks.shape}"
        )
    if masks.dtype != np.bool_:
        if not np.issubdtype(masks.dtype, np.integer) or not np.isin(masks, (0, 1)).all():
            raise TypeError(f"action_masks must be of bool, or of the integers 0 and 1, got {masks.dtype}")
        masks = masks.astype(np.bool_)
    masks = masks.reshape(-1, size)
    starts = np.cumsum((0, *sizes[:-1]))
    left = np.logical_or.reduceat(masks, starts, axis=1)  # (B, K)
    if not left.all():
        row, component = np.argwhere(~left)[0]
        raise ValueError(
            f"action_masks allow no value of component {component} of {space} (row {row} of the masks): allow one, or "
            "end the episode where no action is left"
        )
    return masks


def of_environments(env: VecEnv, sizes: tuple[int, ...], space: spaces.Space[Any]) -> np.ndarray:
    """
    :param env: with ``action_masks()``
    :param sizes: number of values of each component
    :param space: Action space, for errors
    :return: ``(E, S)`` masks of the observations now
    :raises ValueError: see :func:`check`
    :raises TypeError: see :func:`check`
    """
    return check(get_action_masks(env), sizes, space)


def of_next_observations(
    masks: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]], sizes: tuple[int, ...], space: spaces.Space[Any]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """
    Masks of the observations that a step led to, which at the end of an episode are not those of the environment now.
    Where a time limit cut the episode off and ``info`` does not tell them, the episode counts as terminated: its value
    would be that of actions which may not be allowed. So does one that was cut off where no action is left.

    :param masks: ``(E, S)`` masks now, after environments were reset
    :param dones: ``(E,)`` which were
    :param infos: of the step
    :param sizes: number of values of each component
    :param space: Action space, for errors
    :return: ``(E, S)``, and infos that say so
    """
    if not dones.any():
        return masks, infos
    masks, infos = masks.copy(), list(infos)
    for env in np.flatnonzero(dones):
        if not infos[env].get("TimeLimit.truncated", False):
            masks[env] = True  # nothing follows, and the end of a game may leave no action
        elif IN_INFO in infos[env] and np.any(infos[env][IN_INFO]):
            masks[env] = check(infos[env][IN_INFO], sizes, space)
        else:
            if IN_INFO not in infos[env]:
                warnings.warn(
                    "an episode was cut off by a time limit, and the action masks of its last observation are not "
                    "known, since the vectorised environment has been reset: it counts as terminated. Wrap each "
                    "environment in sac_ext.ActionMasksInInfo (wrapper_class= of make_vec_env) to keep them",
                    stacklevel=2,
                )
            masks[env] = True
            infos[env] = infos[env] | {"TimeLimit.truncated": False}
    return masks, infos
