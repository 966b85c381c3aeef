"""Soft Actor-Critic for Stable-Baselines3, on continuous and discrete actions."""

from sac_ext.action_masks import ActionMasksInInfo
from sac_ext.buffers import DeviceReplayBuffer, SoftReplayBufferSamples
from sac_ext.entropy import (
    CallableTarget,
    ConstantTarget,
    EntropyContext,
    EntropyTarget,
    FractionTarget,
    PerDimTarget,
)
from sac_ext.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from sac_ext.soft_ac import SoftAC

__version__ = "0.1.0"

__all__ = [
    "ActionMasksInInfo",
    "CallableTarget",
    "CnnPolicy",
    "ConstantTarget",
    "DeviceReplayBuffer",
    "EntropyContext",
    "EntropyTarget",
    "FractionTarget",
    "MlpPolicy",
    "MultiInputPolicy",
    "PerDimTarget",
    "SoftAC",
    "SoftReplayBufferSamples",
    "__version__",
]
