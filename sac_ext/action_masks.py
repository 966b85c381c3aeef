"""Action masks, by sb3-contrib's convention: ``action_masks()`` of an environment says which actions it allows now.

``E`` environments, ``S`` the total number of values of all components of an action. A mask has an entry for each value,
one component after the other; MultiBinary has two entries per bit (0, then 1).
"""

import copy
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from sb3_contrib.common.maskable.callbacks import MaskableEvalCallback
from sb3_contrib.common.maskable.utils import EXPECTED_METHOD_NAME, get_action_masks, is_masking_supported
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, EvalCallback, EventCallback
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

IN_INFO = "action_masks"


class ActionMasksInInfo(gym.Wrapper[Any, Any, Any, Any]):
    """
    Puts the mask of the last observation of a truncated episode into ``info["action_masks"]``: the value of that
    observation depends on its mask, which is no longer available after a vectorised environment has been reset. SoftAC
    wraps single environments itself; in vectorised ones, wrap each, as by ``make_vec_env(..., wrapper_class=...)``.

    :param env: an environment with ``action_masks()``
    :raises ValueError: if it has no such method
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        if not are_supported(env):
            raise ValueError(
                f"{env} has no action_masks(): apply ActionMasker, which adds it, before ActionMasksInInfo"
            )
        super().__init__(env)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        if truncated and not terminated:  # there may be no masks to ask for at the end of a game
            info = info | {IN_INFO: copy.deepcopy(get_action_masks(self.env))}  # the reset may write into it
        return obs, reward, terminated, truncated, info


def are_supported(env: Any) -> bool:
    """
    :param env: an environment, or a vectorised one
    :return: whether it, or each of its environments, has ``action_masks()``
    :raises ValueError: if only some environments of a vectorised one have it
    """
    if is_masking_supported(env):
        return True
    asks_each = isinstance(env, VecEnv) and isinstance(env.unwrapped, DummyVecEnv | SubprocVecEnv)
    if asks_each and hasattr(gym.Env, "has_wrapper_attr"):  # gymnasium 1.0 and later
        have = np.array(env.env_method("has_wrapper_attr", EXPECTED_METHOD_NAME))
        if have.any() and not have.all():
            raise ValueError(
                f"in the vectorised environment, environments {np.flatnonzero(have).tolist()} have action_masks(), but "
                f"environments {np.flatnonzero(~have).tolist()} do not: define it in all of them (all True allows "
                "every action) or in none"
            )
    return False


def are_taken(model: Any, env: Any) -> bool:
    """:return: whether a model accepts masks, and an environment has them"""
    return bool(getattr(getattr(model, "head", None), "mask_sizes", ())) and are_supported(env)


EVALUATED_WITHOUT = "EvalCallback evaluates without action masks"


def warn_of_evaluations_without(callback: BaseCallback, model: Any) -> None:
    """
    Warn of callbacks that evaluate without action masks though their environment has them.

    :param callback: of ``learn()``
    :param model: the model that learns
    """
    if isinstance(callback, CallbackList):
        for each in callback.callbacks:
            warn_of_evaluations_without(each, model)
    elif isinstance(callback, EvalCallback) and not isinstance(callback, MaskableEvalCallback):
        if are_taken(model, callback.eval_env):
            warnings.warn(
                f"{EVALUATED_WITHOUT}, though its environment has them, so the policy may take actions that are not "
                "allowed: use sb3_contrib.common.maskable.callbacks.MaskableEvalCallback",
                stacklevel=2,
            )
    elif isinstance(callback, EventCallback) and callback.callback is not None:
        warn_of_evaluations_without(callback.callback, model)


def check(action_masks: Any, sizes: tuple[int, ...], space: spaces.Space[Any]) -> np.ndarray:
    """
    :param action_masks: of one or several observations
    :param sizes: number of values of each component
    :param space: Action space, for the error
    :return: ``(B, S)`` bool
    :raises ValueError: for a wrong shape, integers other than 0 and 1, or masks that leave some component no value
    :raises TypeError: for masks that are not of bool or integers
    """
    masks = _as_masks(action_masks, sizes, space)
    something_left = _something_left(masks, sizes)
    if not something_left.all():
        row, component = np.argwhere(~something_left)[0]
        raise ValueError(
            f"action_masks allow no value of component {component} of {space} (row {row} of the masks): allow at least "
            "one, or end the episode when no action is left"
        )
    return masks


def _as_masks(action_masks: Any, sizes: tuple[int, ...], space: spaces.Space[Any]) -> np.ndarray:
    """:return: ``(B, S)`` bool, a copy, since an environment may write into its own array"""
    size = sum(sizes)
    if size == 0:
        raise ValueError(f"actions of {space} cannot be masked: leave action_masks out")
    rule = (
        f"action_masks for {space} must have shape ({size},), or (n, {size}) for n environments or observations, with "
        "an entry for each value of the first component, then of the second, and so on"
    )
    try:
        masks = np.array(action_masks)
    except ValueError:
        lengths = [np.size(part) for part in action_masks]
        raise ValueError(
            f"{rule}, got parts of {lengths} values: join the components' masks with np.concatenate"
        ) from None
    if masks.ndim not in (1, 2) or masks.shape[-1] != size:
        hint = ": join the components' masks with np.concatenate" if masks.size == size else ""
        raise ValueError(f"{rule}, got {masks.shape}{hint}")
    if masks.dtype != np.bool_:
        if not np.issubdtype(masks.dtype, np.integer):
            raise TypeError(f"action_masks must be bools, or the integers 0 and 1, got {masks.dtype}")
        if not np.isin(masks, (0, 1)).all():
            raise ValueError(f"action_masks must be bools, or the integers 0 and 1, got {np.unique(masks)}")
        masks = masks.astype(np.bool_)
    return masks.reshape(-1, size)


def _something_left(masks: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """:return: ``(B, K)`` whether each component has an allowed value"""
    left: np.ndarray = np.logical_or.reduceat(masks, np.cumsum((0, *sizes[:-1])), axis=1)
    return left


def of_environments(env: VecEnv, sizes: tuple[int, ...], space: spaces.Space[Any]) -> np.ndarray:
    """
    :param env: with ``action_masks()``
    :param sizes: number of values of each component
    :param space: Action space, for errors
    :return: ``(E, S)`` masks of the current observations
    :raises ValueError: see :func:`check`
    :raises TypeError: see :func:`check`
    """
    return check(env.env_method(EXPECTED_METHOD_NAME), sizes, space)


def of_next_observations(
    masks: np.ndarray, dones: np.ndarray, infos: list[dict[str, Any]], sizes: tuple[int, ...], space: spaces.Space[Any]
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """
    Masks of a step's next observations, which at the end of an episode are not the environment's current masks. If an
    episode was truncated and ``info`` lacks the mask of its last observation, it counts as terminated, since the value
    of that observation might be that of actions that are not allowed. A truncated episode whose last mask leaves some
    component no value counts as terminated, too.

    :param masks: ``(E, S)`` current masks, after environments were reset
    :param dones: ``(E,)`` which environments were reset
    :param infos: of the step
    :param sizes: number of values of each component
    :param space: Action space, for errors
    :return: ``(E, S)`` masks, and infos in which such episodes count as terminated
    """
    if not dones.any():
        return masks, infos
    masks, infos = masks.copy(), list(infos)
    for env in np.flatnonzero(dones):
        if not infos[env].get("TimeLimit.truncated", False):
            masks[env] = True  # nothing follows, and the end of a game may leave no action
            continue
        if IN_INFO in infos[env]:
            last = _as_masks(infos[env][IN_INFO], sizes, space)
            if _something_left(last, sizes).all():
                masks[env] = last
                continue
        else:
            warnings.warn(
                "an episode was truncated, but the action masks of its last observation are not known, because the "
                "vectorised environment has already been reset: the episode counts as terminated. To keep the masks, "
                "wrap each environment in sac_ext.ActionMasksInInfo (make_vec_env's wrapper_class)",
                stacklevel=2,
            )
        masks[env] = True
        infos[env] = infos[env] | {"TimeLimit.truncated": False}
    return masks, infos
