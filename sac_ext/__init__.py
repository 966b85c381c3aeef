"""Soft Actor-Critic for Stable-Baselines3, on continuous and discrete actions."""

from sac_ext.action_masks import ActionMasksInInfo
from sac_ext.buffers import DeviceReplayBuffer, SoftReplayBufferSamples
from sac_ext.entropy import (
    AnnealedTarget,
    CallableTarget,
    ComponentTargets,
    ConstantTarget,
    CosineTarget,
    EntropyContext,
    EntropyTarget,
    EpsilonTarget,
    ExponentialTarget,
    FractionTarget,
    LinearTarget,
    OnPlateauTarget,
    PerDimTarget,
    SigmaTarget,
)
from sac_ext.policies import CnnPolicy, MlpPolicy, MultiInputPolicy
from sac_ext.soft_ac import SoftAC

__version__ = "0.1.0"

__all__ = [
    "ActionMasksInInfo",
    "AnnealedTarget",
    "CallableTarget",
    "CnnPolicy",
    "ComponentTargets",
    "ConstantTarget",
    "CosineTarget",
    "DeviceReplayBuffer",
    "EntropyContext",
    "EntropyTarget",
    "EpsilonTarget",
    "ExponentialTarget",
    "FractionTarget",
    "LinearTarget",
    "MlpPolicy",
    "MultiInputPolicy",
    "OnPlateauTarget",
    "PerDimTarget",
    "SigmaTarget",
    "SoftAC",
    "SoftReplayBufferSamples",
    "__version__",
]
