"""Action masks for the zoo's own code, which does not ask environments for them."""

import contextlib
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest.mock import patch

from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3.common import callbacks

from sac_ext import action_masks as masking
from sac_ext.evaluation import evaluate_policy
from sac_ext.soft_ac import SoftAC


@contextlib.contextmanager
def in_evaluations() -> Iterator[None]:
    """Let evaluation callbacks ask environments for masks."""
    with patch.object(callbacks, "evaluate_policy", evaluate_policy), warnings.catch_warnings():
        warnings.filterwarnings("ignore", masking.EVALUATED_WITHOUT)
        yield


@contextlib.contextmanager
def in_what_is_played(module: ModuleType) -> Iterator[None]:
    """
    Let ``predict`` ask environments for masks.

    :param module: module of the zoo, which plays in the environment that its ``create_test_env`` makes
    """
    create_test_env, predict = module.create_test_env, SoftAC.predict
    played: list[Any] = []

    def create(*args: Any, **kwargs: Any) -> Any:
        played.append(create_test_env(*args, **kwargs))
        return played[-1]

    def predict_within_masks(model: SoftAC, *args: Any, **kwargs: Any) -> Any:
        if masking.are_taken(model, played[-1]):
            kwargs["action_masks"] = get_action_masks(played[-1])
        return predict(model, *args, **kwargs)

    with patch.object(module, "create_test_env", create), patch.object(SoftAC, "predict", predict_within_masks):
        yield
