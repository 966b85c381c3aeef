"""From arguments of SoftAC to a score: training runs with evaluations. Does not depend on Optuna."""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from sac_ext import SoftAC
from sac_ext.evaluation import evaluate_policy

from .entries import is_atari
from .environments import EnvironmentSpec

METRICS = ("final", "auc", "best")
EVALUATION_SEED_OFFSET = 1_000_000
"""Seeds of evaluation environments start here; those of training environments are lower."""
SEEDING = 2
"""
Number of the rule by which the seeds of environments follow from the seed of a run. It changes with the rule, so that
scores from before and after can be told apart. Under rule 1, whose number was not recorded, runs of neighbouring seeds
shared most of their environments' seeds.
"""
_EVALUATION_ENVS = 5

Report = Callable[[int, int, float], None]
Poll = Callable[[], None]
MakeModel = Callable[[VecEnv, int], BaseAlgorithm]


@dataclass(frozen=True)
class Protocol:
    """
    How a training run is measured.

    :param steps: environment steps of training
    :param evaluations: number of evaluations, at equal intervals, the last one after training
    :param episodes: episodes of each evaluation
    :param metric: ``"final"``: mean of the last fifth of the evaluations; ``"auc"``: mean of all; ``"best"``: their
        maximum
    :param deterministic: whether the evaluated policy takes its most probable action
    """

    steps: int
    evaluations: int = 10
    episodes: int = 10
    metric: str = "final"
    deterministic: bool = True

    def __post_init__(self) -> None:
        for name in ("steps", "evaluations", "episodes"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
        if self.evaluations > self.steps:
            raise ValueError(f"evaluations must be at most steps ({self.steps}), got {self.evaluations}")
        if self.metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {self.metric!r}")

    def score(self, curve: Sequence[tuple[int, float]]) -> float:
        """
        Turn the learning curve of a run into its score.

        :param curve: steps and mean return of each evaluation
        :return: score of the run
        """
        returns = [value for _, value in curve]
        if self.metric == "best":
            return max(returns)
        last = len(returns) if self.metric == "auc" else max(1, math.ceil(len(returns) / 5))
        return float(np.mean(returns[-last:]))


@dataclass(frozen=True)
class Evaluation:
    """Results of training runs with the same arguments."""

    score: float
    """Mean of the metric over the seeds."""
    scores: tuple[float, ...]
    """The metric of each seed."""
    curves: tuple[tuple[tuple[int, float], ...], ...]
    """For each seed, the environment steps and the mean return of each evaluation."""
    seconds: float
    """Total time of the runs, including evaluations."""


def evaluate(
    params: Mapping[str, Any],
    env: EnvironmentSpec,
    seeds: Sequence[int],
    report: Report | None = None,
    *,
    protocol: Protocol,
    poll: Poll | None = None,
    device: str = "auto",
) -> Evaluation:
    """
    Train and evaluate SoftAC once for each seed, one after the other.

    :param params: arguments of SoftAC, of which ``policy`` is ``"MlpPolicy"`` if not given
    :param env: environment to train in; the policy is evaluated in another one, with a seed of its own
    :param seeds: seeds of the runs
    :param report: called with the index of the seed, the environment steps and the mean return of each evaluation; may
        raise an exception to end the runs
    :param protocol: how long to train, and how to measure
    :param poll: called at every step of training and evaluation; may raise an exception to end the runs
    :param device: as in SoftAC
    :return: the runs' scores
    :raises ValueError: if there is no seed, or a mean return is not finite
    """

    def make_model(venv: VecEnv, seed: int) -> SoftAC:
        arguments = copy.deepcopy({"policy": "MlpPolicy", **params})  # SB3 writes into policy_kwargs
        return SoftAC(**arguments, env=venv, seed=seed, device=device)

    if not seeds:
        raise ValueError("seeds must contain at least one seed")
    env = env.with_discount(params.get("gamma"))
    start = time.perf_counter()
    curves = []
    for index, seed in enumerate(seeds):
        report_seed = None if report is None else partial(report, index)
        curves.append(train(make_model, env, seed, protocol, report_seed, poll))
    scores = tuple(protocol.score(curve) for curve in curves)
    return Evaluation(float(np.mean(scores)), scores, tuple(map(tuple, curves)), time.perf_counter() - start)


def train(
    make_model: MakeModel,
    env: EnvironmentSpec,
    seed: int,
    protocol: Protocol,
    report: Callable[[int, float], object] | None = None,
    poll: Poll | None = None,
    final_episodes: int | None = None,
) -> list[tuple[int, float]]:
    """
    Train any of SB3's algorithms once, and evaluate it as it learns.

    :param make_model: makes the algorithm, given an environment and a seed
    :param env: environment to train in
    :param seed: seed of the model; the environments' seeds follow from it, and no other seed leads to any of them
    :param protocol: how long to train, and how to measure
    :param report: called with the steps and the mean return of each evaluation
    :param poll: called at every step of training and evaluation
    :param final_episodes: episodes of the evaluation after training; None for the protocol's number
    :return: steps and mean return of each evaluation
    :raises ValueError: if the seed is negative or too large, or a mean return is not finite
    """
    first_seed = _first_training_seed(seed, env.n_envs)
    training = env.make(first_seed)
    evaluation: VecEnv | None = None
    curve: list[tuple[int, float]] = []

    def measure(model: BaseAlgorithm, episodes: int) -> None:
        assert evaluation is not None
        sync_envs_normalization(training, evaluation)
        mean = _mean_return(model, evaluation, episodes, protocol.deterministic, poll)
        if not math.isfinite(mean):
            raise ValueError(f"the mean return after {model.num_timesteps} steps is {mean}, but must be finite")
        curve.append((model.num_timesteps, mean))
        if report is not None:
            report(*curve[-1])

    try:
        evaluation = env.make(
            EVALUATION_SEED_OFFSET + _EVALUATION_ENVS * seed,
            n_envs=min(_EVALUATION_ENVS, protocol.episodes),
            training=False,
        )
        model = make_model(training, seed)
        training.seed(first_seed)  # SB3's algorithms have seeded them with seed, seed + 1, ...
        model.learn(protocol.steps, _Measuring(protocol, measure, poll))
        measure(model, final_episodes or protocol.episodes)
    finally:
        for each in (training, evaluation):
            if each is not None:
                each.close()
    return curve


def _first_training_seed(seed: int, n_envs: int) -> int:
    """
    Space the seeds of environments, so that no two runs share one.

    :param seed: seed of a training run
    :param n_envs: number of environments to train in
    :return: seed of the first of these environments; the others have the seeds that follow
    :raises ValueError: if the run's seed is negative, or these seeds would reach those of evaluations
    """
    last = EVALUATION_SEED_OFFSET // max(1, n_envs) - 1
    if not 0 <= seed <= last:
        raise ValueError(f"seed must be from 0 to {last} with n_envs {n_envs}, got {seed}")
    return n_envs * seed


class _Measuring(BaseCallback):
    """Evaluates at equal intervals, except at the end, when the last gradient steps are still to come."""

    def __init__(self, protocol: Protocol, measure: Callable[[BaseAlgorithm, int], None], poll: Poll | None) -> None:
        super().__init__()
        self.protocol, self.measure, self.poll = protocol, measure, poll
        self.done = 0

    def _on_step(self) -> bool:
        if self.poll is not None:
            self.poll()
        due = self.num_timesteps * self.protocol.evaluations // self.protocol.steps
        if self.done < due < self.protocol.evaluations:
            self.done = due
            self.measure(self.model, self.protocol.episodes)
        return True


def _mean_return(model: BaseAlgorithm, env: VecEnv, episodes: int, deterministic: bool, poll: Poll | None) -> float:
    """:return: mean return of so many episodes, with the current policy"""

    def callback(_locals: dict[str, Any], _globals: dict[str, Any]) -> None:
        if poll is not None:
            poll()

    mean, _ = evaluate_policy(model, env, episodes, deterministic=deterministic, callback=callback)
    assert isinstance(mean, float | np.floating)
    return float(mean)


def is_stochastic(env_id: str) -> bool:
    """:return: whether policies are evaluated stochastically, as is usual for Atari"""
    return is_atari(env_id.rpartition(":")[2])
