"""Action masks, which the zoo's own code does not ask environments for."""

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from unittest.mock import patch

from sb3_contrib.common.maskable import evaluation as maskable
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common import callbacks, evaluation

from sac_ext.soft_ac import SoftAC


def evaluate_policy(model: Any, env: Any, *args: Any, **kwargs: Any) -> Any:
    """
    :param model: to evaluate
    :param env: it is evaluated in, and asked for action masks where SoftAC is and the environment has them
    :param args: of SB3's function of this name
    :param kwargs: of SB3's function of this name
    :return: what SB3's function does
    """
    has_masks = isinstance(model, SoftAC) and is_masking_supported(env)
    return (maskable if has_masks else evaluation).evaluate_policy(model, env, *args, **kwargs)


@contextlib.contextmanager
def in_evaluations() -> Iterator[None]:
    """Evaluation callbacks ask for masks."""
    with patch.object(callbacks, "evaluate_policy", evaluate_policy):
        yield


@contextlib.contextmanager
def in_what_is_played(module: ModuleType) -> Iterator[None]:
    """
    ``predict`` asks for masks.

    :param module: of the zoo, whose environment is the one that ``create_test_env`` makes
    """
    create_test_env, predict = module.create_test_env, SoftAC.predict
    played: list[Any] = []

    def create(*args: Any, **kwargs: Any) -> Any:
        played.append(create_test_env(*args, **kwargs))
        return played[-1]

    def predict_within_masks(model: SoftAC, *args: Any, **kwargs: Any) -> Any:
        if is_masking_supported(played[-1]):
            kwargs["action_masks"] = get_action_masks(played[-1])
        return predict(model, *args, **kwargs)

    with patch.object(module, "create_test_env", create), patch.object(SoftAC, "predict", predict_within_masks):
        yield
