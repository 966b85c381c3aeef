"""Hyperparameter tuning of SoftAC with Optuna; installs as ``sac_ext.tuning``, with the command ``softac-tune``."""

from .environments import EnvironmentSpec
from .evaluate import Evaluation, Protocol, evaluate

__all__ = ["EnvironmentSpec", "Evaluation", "Protocol", "evaluate"]
