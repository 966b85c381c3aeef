"""NaN is refused where it enters training: from the environment, from a loaded replay buffer, from a batch.

Observations must not be NaN (infinite values are left to features extractors that expect them); rewards must be finite.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.type_aliases import ReplayBufferSamples

HINT = (
    "Nothing was learned from it. To find its origin, wrap the environment in SB3's VecCheckNan. If you use "
    "VecNormalize, whose running statistics may already include the value, put VecCheckNan inside it"
)


def check_observation(obs: Any, source: str, hint: str = HINT) -> None:
    """
    :param obs: array, tensor or dict of them
    :param source: where it comes from, for the error
    :param hint: what to do about it, for the error
    :raises ValueError: if it contains NaN
    """
    parts = obs.items() if isinstance(obs, dict) else [(None, obs)]
    for key, part in parts:
        if _is_nan_anywhere(part):
            name = "observation" if key is None else f"observation[{key!r}]"
            raise ValueError(f"{name} from {source} contains NaN. {hint}")


def check_reward(reward: Any, source: str, hint: str = HINT) -> None:
    """
    :param reward: array or tensor
    :param source: where it comes from, for the error
    :param hint: what to do about it, for the error
    :raises ValueError: if it contains NaN or infinity
    """
    finite = th.isfinite(reward) if isinstance(reward, th.Tensor) else np.isfinite(reward)
    if not finite.all():
        worst = reward[~finite].ravel()[0]
        raise ValueError(f"reward from {source} is {float(worst)}, but must be finite. {hint}")


def check_batch(batch: ReplayBufferSamples) -> None:
    """
    :param batch: as sampled from the replay buffer, after normalisation
    :raises ValueError: if an observation contains NaN or a reward is not finite
    """
    source = "the replay buffer"
    check_observation(batch.observations, source)
    check_observation(batch.next_observations, source)
    check_reward(batch.rewards, source)


def check_buffer(observations: Iterable[Any], rewards: Any) -> None:
    """
    :param observations: all observations of a replay buffer just loaded from a file, in parts
    :param rewards: all of its rewards, or None if it keeps them under another name
    :raises ValueError: if an observation contains NaN or a reward is not finite
    """
    source, hint = "the loaded replay buffer", "The model keeps the replay buffer that it had"
    for part in observations:
        check_observation(part, source, hint)
    if rewards is not None:
        check_reward(rewards, source, hint)


def _is_nan_anywhere(array: Any) -> bool:
    if isinstance(array, th.Tensor):
        return array.is_floating_point() and bool(th.isnan(array).any())
    array = np.asarray(array)  # environments may return ints, lists or None
    return np.issubdtype(array.dtype, np.floating) and bool(np.isnan(array).any())
