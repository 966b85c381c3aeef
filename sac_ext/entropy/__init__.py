"""Entropy targets: what the entropy of the policy should be, as a number in nats at each moment of training.

The coefficient that steers the entropy to it, and its optimizer, are not here. A target of your own is a subclass of
:class:`~sac_ext.entropy.base.EntropyTarget` with one method.
"""

from sac_ext.entropy.adaptive import AnnealedTarget, OnPlateauTarget
from sac_ext.entropy.base import EntropyContext, EntropyTarget, check_reachable
from sac_ext.entropy.per_component import ComponentTargets
from sac_ext.entropy.schedules import CosineTarget, ExponentialTarget, LinearTarget
from sac_ext.entropy.specs import KINDS, parse_entropy_target, spec_of
from sac_ext.entropy.targets import (
    CallableTarget,
    ConstantTarget,
    EpsilonTarget,
    FractionTarget,
    PerDimTarget,
    SigmaTarget,
)

__all__ = [
    "KINDS",
    "AnnealedTarget",
    "CallableTarget",
    "ComponentTargets",
    "ConstantTarget",
    "CosineTarget",
    "EntropyContext",
    "EntropyTarget",
    "EpsilonTarget",
    "ExponentialTarget",
    "FractionTarget",
    "LinearTarget",
    "OnPlateauTarget",
    "PerDimTarget",
    "SigmaTarget",
    "check_reachable",
    "parse_entropy_target",
    "spec_of",
]
