"""``softac-tune tune --dry-run``: what a study would do, and how long that would take."""

import argparse
import time
from pathlib import Path

import torch as th
from stable_baselines3.common.callbacks import BaseCallback

from sac_ext import SoftAC

from .places import Place
from .settings import Settings
from .storage import is_url, open_storage, shown
from .study import Asked, refuse_differences, settings_from, smoke_test, stored_settings

_TIMED_STEPS = 300
_WARM_UP_STEPS = 100  # after learning starts, before timing starts


def dry_run(asked: Asked, place: Place, trials: int, options: argparse.Namespace) -> int:
    """
    Print the space, the number of steps and the estimated time. Nothing is stored.

    :param asked: what the user asked for
    :param place: place of the study, which may exist
    :param trials: number of trials wanted
    :param options: command-line options: ``heartbeat``, ``jobs``, ``threads`` and ``device``
    :return: exit status
    :raises ValueError: for what ``tune`` would refuse too
    """
    stored = None
    if is_url(place.storage) or Path(place.storage).exists():
        stored = stored_settings(open_storage(place.storage, heartbeat=options.heartbeat), place.study)
    settings = settings_from(asked, stored)
    if stored is not None:
        refuse_differences(stored, settings, place.study)
    smoke_test(settings)
    protocol, space = settings.protocol, settings.parsed_space()
    per_trial = protocol.steps * len(settings.seeds)
    print(f"Study {place.study} in {shown(place.storage)}{'' if stored is None else ' (an existing study)'}")
    print("Space:\n  " + "\n  ".join(map(str, space.parameters)))
    as_is = space.params_of(settings.base()) is None
    print("First trial: the zoo entry" + (", which lies outside of the search space" if as_is else ""))
    print(
        f"Each trial: {len(settings.seeds)} seed(s) of {protocol.steps} steps, with {protocol.evaluations} evaluations "
        f"of {protocol.episodes} episodes each, metric {protocol.metric}"
    )
    print(f"Total: {trials} trials, {trials * per_trial} steps if none is pruned (pruner: {settings.pruner})")
    th.set_num_threads(options.threads)
    seconds = seconds_per_step(settings, options.device) * per_trial * trials / options.jobs
    print(f"Estimated time with {options.jobs} jobs: {readable(seconds)}, not counting evaluations and pruning")
    return 0


def seconds_per_step(settings: Settings, device: str) -> float:
    """
    Train with the base entry, and time the steps once learning has started.

    :param settings: settings of the study
    :param device: device to train on
    :return: seconds per environment step
    """
    env = settings.env.make(settings.seeds[0])
    model = SoftAC(**settings.base(), env=env, device=device)
    warm = max(model.learning_starts, 1) + _WARM_UP_STEPS
    times: dict[int, float] = {}

    class Clock(BaseCallback):
        def _on_step(self) -> bool:
            times[self.num_timesteps] = time.perf_counter()
            return True

    model.learn(warm + _TIMED_STEPS * env.num_envs, Clock())
    env.close()
    late = [step for step in times if step >= warm]
    return (times[late[-1]] - times[late[0]]) / (late[-1] - late[0])


def readable(seconds: float) -> str:
    """:return: a duration in hours and minutes, or in seconds if it is short"""
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min"
    return f"{seconds:.0f} s"
