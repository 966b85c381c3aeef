"""SB3's ``evaluate_policy``, with action masks where there are any, and a warning when no episode ends."""

import warnings
from collections.abc import Callable
from typing import Any

from sb3_contrib.common.maskable import evaluation as maskable_evaluation
from stable_baselines3.common import evaluation

from sac_ext import action_masks

Callback = Callable[[dict[str, Any], dict[str, Any]], None]

PATIENCE = 100_000
"""Steps of each environment before the warning; the longest episodes in common use, Atari's, have 27 000."""


def evaluate_policy(model: Any, env: Any, *args: Any, callback: Callback | None = None, **kwargs: Any) -> Any:
    """
    Warns if no episode ends: without a time limit, a policy that goes in circles is evaluated for ever.

    :param model: the model to evaluate
    :param env: the environment to evaluate it in, which is asked for its masks if the model accepts them
    :param args: of SB3's function of this name
    :param callback: of SB3's function of this name
    :param kwargs: of SB3's function of this name
    :return: what SB3's function returns
    """
    module = maskable_evaluation if action_masks.are_taken(model, env) else evaluation
    return module.evaluate_policy(model, env, *args, callback=_Watch(callback), **kwargs)


class _Watch:
    """
    Counts the steps since the last end of an episode.

    :param callback: another callback to call
    """

    def __init__(self, callback: Callback | None) -> None:
        self.callback = callback
        self.ended, self.steps, self.has_warned = 0, 0, False

    def __call__(self, locals_: dict[str, Any], globals_: dict[str, Any]) -> None:
        ended = int(locals_["episode_counts"].sum())
        self.steps = self.steps + 1 if ended == self.ended else 1
        self.ended = ended
        if self.steps > PATIENCE * locals_["n_envs"] and not self.has_warned:
            self.has_warned = True
            warnings.warn(
                f"no episode has ended in {PATIENCE} steps of an evaluation, which keeps waiting for one. If episodes "
                "may never end, set a time limit: gym.make(..., max_episode_steps=1000), or in rl-baselines3-zoo "
                "--env-kwargs max_episode_steps:1000",
                stacklevel=3,
            )
        if self.callback is not None:
            self.callback(locals_, globals_)
