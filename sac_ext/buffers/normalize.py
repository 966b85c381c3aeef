"""``VecNormalize``'s running statistics, applied to tensors on any device: the same numbers as its own methods."""

from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.vec_env import VecNormalize

Observations = th.Tensor | dict[str, th.Tensor]


def normalize_observations(observations: Observations, env: VecNormalize | None) -> Observations:
    """
    :param observations: ``(B, *shape)``, or a dict of them
    :param env: statistics and settings; None to change nothing
    """
    if env is None or not env.norm_obs:
        return observations
    if isinstance(observations, dict):
        assert isinstance(env.obs_rms, dict)
        keys = set(env.norm_obs_keys or ())
        return {
            key: _normalize(part, env.obs_rms[key], env) if key in keys else part for key, part in observations.items()
        }
    return _normalize(observations, env.obs_rms, env)


def _normalize(observations: th.Tensor, statistics: Any, env: VecNormalize) -> th.Tensor:
    mean = th.as_tensor(statistics.mean, device=observations.device)
    deviation = th.as_tensor(np.sqrt(statistics.var + env.epsilon), device=observations.device)
    return ((observations.to(mean.dtype) - mean) / deviation).clamp_(-env.clip_obs, env.clip_obs).float()


def normalize_rewards(rewards: th.Tensor, env: VecNormalize | None) -> th.Tensor:
    """
    :param rewards: any shape
    :param env: statistics and settings; None to change nothing
    """
    if env is None or not env.norm_reward:
        return rewards
    deviation = np.sqrt(env.ret_rms.var + env.epsilon)
    # numpy 1 divides in single precision where numpy 2 divides in double precision
    precision = (np.zeros(1, np.float32) / deviation).dtype
    dtype = th.float64 if precision == np.float64 else th.float32
    return (rewards.to(dtype) / float(deviation)).clamp_(-env.clip_reward, env.clip_reward).float()
