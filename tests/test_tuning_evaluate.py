"""Training runs and how they are measured: protocols, metrics, curves, reports."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3 import DQN

pytest.importorskip("rl_zoo3")
pytest.importorskip("optuna")
from sac_ext import SoftAC, action_masks
from sac_ext.tuning.environments import EnvironmentSpec
from sac_ext.tuning.evaluate import EVALUATION_SEED_OFFSET, METRICS, Protocol, train
from tests.catalogue import RandomEnv, small
from tests.watched import METADATA, SHORT, WATCHED, WatchedEnv, params, registered, run


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    with registered():
        yield


# ---------------------------------------------------------------- protocols and metrics


@pytest.mark.parametrize("name", ["steps", "evaluations", "episodes"])
@pytest.mark.parametrize("value", [0, -1, 1.5, 10.0, "10", True, None])
def test_numbers_of_a_protocol_are_whole_and_positive(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got {value!r}"):
        Protocol(**{"steps": 100, name: value})


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"evaluations": 101}, r"evaluations must be at most steps \(100\), got 101"),
        ({"metric": "last"}, "metric must be one of final, auc, best, got 'last'"),
        ({"metric": None}, "metric must be one of final, auc, best, got None"),
    ],
)
def test_protocols_that_are_refused(others: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Protocol(100, **others)


@pytest.mark.parametrize(
    ("returns", "final", "auc", "best"),
    [
        ([7.0], 7.0, 7.0, 7.0),
        ([1.0, 3.0], 3.0, 2.0, 3.0),
        ([5.0, 1.0, 3.0], 3.0, 3.0, 5.0),
        ([9.0, 0.0, 0.0, 0.0, 1.0], 1.0, 2.0, 9.0),
        ([0.0, 0.0, 0.0, 0.0, 2.0, 4.0], 3.0, 1.0, 4.0),  # a fifth of 6 is 2
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 20.0], 14.5, 6.5, 20.0),
        ([-5.0, -1.0, -3.0], -3.0, -3.0, -1.0),
    ],
)
def test_metrics_turn_curves_into_scores(returns: list[float], final: float, auc: float, best: float) -> None:
    curve = [(10 * index, value) for index, value in enumerate(returns, start=1)]
    expected = {"final": final, "auc": auc, "best": best}
    assert set(expected) == set(METRICS)
    for metric, score in expected.items():
        assert Protocol(1000, metric=metric).score(curve) == pytest.approx(score)


# ---------------------------------------------------------------- evaluate


def test_the_same_seeds_give_the_same_runs() -> None:
    first, again, other = run(seeds=(0, 1)), run(seeds=(0, 1)), run(seeds=(1, 2))
    assert (first.score, first.scores, first.curves) == (again.score, again.scores, again.curves)
    assert first.curves[0] != first.curves[1]
    assert first.curves[1] == other.curves[0]  # whatever came before
    assert first.seconds > 0


@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_those_of_the_curves(metric: str) -> None:
    protocol = Protocol(40, evaluations=4, episodes=1, metric=metric)
    found = run(protocol=protocol, seeds=(3, 4))
    assert found.scores == tuple(map(protocol.score, found.curves))
    assert found.score == pytest.approx(np.mean(found.scores))


def test_the_mean_return_is_of_whole_episodes() -> None:
    found = run(EnvironmentSpec("Watched-v0", {"reward": 0.5, "episode_length": 7}))
    assert [value for _, value in found.curves[0]] == [3.5] * 3


@pytest.mark.parametrize(
    ("steps", "evaluations", "options", "arguments", "expected"),
    [
        (60, 3, {}, {}, [20, 40, 60]),
        (60, 1, {}, {}, [60]),
        (10, 10, {}, {"train_freq": 1}, list(range(1, 11))),
        (50, 4, {}, {"train_freq": 1}, [13, 25, 38, 50]),
        (50, 4, {}, {"train_freq": 4}, [13, 25, 38, 52]),
        (60, 3, {"n_envs": 4}, {"train_freq": 1}, [20, 40, 60]),
        (60, 4, {"n_envs": 4}, {"train_freq": 1}, [16, 32, 48, 60]),
        (20, 2, {}, {"train_freq": (1, "episode")}, [10, 24]),
    ],
)
def test_evaluations_are_at_equal_distances(
    steps: int, evaluations: int, options: dict[str, Any], arguments: dict[str, Any], expected: list[int]
) -> None:
    env = EnvironmentSpec("Watched-v0", {"reward": 1.0}, options)
    found = run(env, Protocol(steps, evaluations, episodes=1), params=params(**arguments))
    assert [step for step, _ in found.curves[0]] == expected


def test_the_last_evaluation_is_after_the_last_gradient_step() -> None:
    models: list[SoftAC] = []
    updates: list[int] = []

    def make_model(venv: Any, seed: int) -> SoftAC:
        models.append(SoftAC("MlpPolicy", venv, seed=seed, device="cpu", **params(gradient_steps=4)))
        return models[-1]

    curve = train(make_model, WATCHED, 0, SHORT, lambda step, value: updates.append(models[0]._n_updates))
    assert [step for step, _ in curve] == [20, 40, 60]
    assert updates[-1] == models[0]._n_updates == 4 * (60 - 20) // 4
    assert updates[0] == 0


@pytest.mark.parametrize("n_envs", [1, 4])
def test_no_two_environments_of_neighbouring_seeds_start_from_the_same_seed(n_envs: int) -> None:
    run(EnvironmentSpec("Watched-v0", options={"n_envs": n_envs}), Protocol(40, 2, episodes=7), seeds=(0, 1, 2))
    assert all(len(env.seeds) == 1 for env in WatchedEnv.made)  # later episodes go on with the same randomness
    seeds = [env.seeds[0] for env in WatchedEnv.made]
    assert len(seeds) == 3 * (n_envs + 5)
    assert len(set(seeds)) == len(seeds)


def test_one_environment_is_trained_in_with_the_seed_that_was_asked_for() -> None:
    run(seeds=(0, 1, 7))
    assert [env.seeds for env in WatchedEnv.made if not env.evaluates] == [[0], [1], [7]]


@pytest.mark.parametrize(("n_envs", "last"), [(1, 999_999), (4, 249_999)])
def test_seeds_whose_environments_would_be_those_of_evaluations_are_refused(n_envs: int, last: int) -> None:
    env = EnvironmentSpec("Watched-v0", options={"n_envs": n_envs})
    run(env, Protocol(20, 1, episodes=5), seeds=[last])
    evaluating = [each.seeds[0] for each in WatchedEnv.made if each.evaluates]
    training = [each.seeds[0] for each in WatchedEnv.made if not each.evaluates]
    assert len(evaluating) == 5
    assert max(training) == EVALUATION_SEED_OFFSET - 1
    assert max(evaluating) < 2**32  # which numpy's generators take
    for seed in (last + 1, -1):
        with pytest.raises(ValueError, match=f"seed must be from 0 to {last} with n_envs {n_envs}, got {seed}"):
            run(env, seeds=[seed])


@pytest.mark.parametrize(("episodes", "environments"), [(1, 1), (3, 3), (7, 5)])
def test_each_evaluation_has_its_number_of_episodes(episodes: int, environments: int) -> None:
    env = EnvironmentSpec("Watched-v0", {"reward": 1.0, "episode_length": 4})
    run(env, Protocol(20, 2, episodes))
    evaluating = [each for each in WatchedEnv.made if each.evaluates]
    assert len(evaluating) == environments
    longest = math.ceil(episodes / environments)
    assert {each.steps for each in evaluating} == {2 * 4 * longest}


def test_the_evaluation_after_training_may_be_longer() -> None:
    def make_model(venv: Any, seed: int) -> SoftAC:
        return SoftAC("MlpPolicy", venv, seed=seed, device="cpu", **params())

    env = EnvironmentSpec("Watched-v0", {"reward": 1.0, "episode_length": 4})
    train(make_model, env, 0, Protocol(20, 2, episodes=1), final_episodes=6)
    assert [each.steps for each in WatchedEnv.made if each.evaluates] == [(1 + 6) * 4]


def test_other_algorithms_are_trained_too() -> None:
    def make_model(venv: Any, seed: int) -> DQN:
        return DQN(
            "MlpPolicy", venv, seed=seed, device="cpu", learning_starts=10, buffer_size=100, policy_kwargs=small()
        )

    curve = train(make_model, EnvironmentSpec("Watched-v0", {"actions": "discrete"}), 0, SHORT)
    assert [step for step, _ in curve] == [20, 40, 60]


def test_policies_are_evaluated_with_their_own_randomness_if_asked() -> None:
    env = EnvironmentSpec("Watched-v0", {"actions": "discrete"})
    found = [run(env, Protocol(10, 1, deterministic=deterministic)).score for deterministic in (True, False)]
    assert found[0] != found[1]


def test_reports_come_in_order() -> None:
    reports: list[tuple[int, int, float]] = []
    found = run(seeds=(3, 1), report=lambda *report: reports.append(report))
    curves = [(index, *point) for index, curve in enumerate(found.curves) for point in curve]
    assert reports == curves
    assert [(index, step) for index, step, _ in reports] == [(i, step) for i in (0, 1) for step in (20, 40, 60)]


class Enough(Exception):
    pass


@pytest.mark.parametrize("at", [(0, 20), (0, 60), (1, 40)])
def test_a_report_may_end_it_all(at: tuple[int, int]) -> None:
    reports = []

    def report(index: int, step: int, value: float) -> None:
        reports.append((index, step))
        if (index, step) == at:
            raise Enough

    with pytest.raises(Enough):
        run(seeds=(0, 1, 2), report=report)
    assert reports[-1] == at
    assert len(WatchedEnv.made) == 3 * (1 + at[0])  # one to train in, two to evaluate, for each seed
    assert all(env.closed for env in WatchedEnv.made)


def test_environments_are_closed_after_training_and_when_there_is_no_model() -> None:
    run()
    with pytest.raises(ValueError, match="tau"):
        run(params=params(tau=2.0))
    assert len(WatchedEnv.made) == 6
    assert all(env.closed for env in WatchedEnv.made)


def test_poll_is_called_at_every_step() -> None:
    calls = 0

    def poll() -> None:
        nonlocal calls
        calls += 1

    env = EnvironmentSpec("Watched-v0", {"reward": 1.0, "episode_length": 5})
    run(env, Protocol(20, 2, episodes=2), poll=poll)
    assert [each.steps for each in WatchedEnv.made] == [20, 2 * 5, 2 * 5]
    assert calls == 20 + 2 * (2 * 5)


@pytest.mark.parametrize("evaluates", [False, True])
def test_poll_ends_training_and_evaluation(evaluates: bool) -> None:
    def poll() -> None:
        stepped = [each for each in WatchedEnv.made if each.steps and each.evaluates == evaluates]
        if any(each.steps == 3 for each in stepped):
            raise Enough

    with pytest.raises(Enough):
        run(EnvironmentSpec("Watched-v0", {"reward": 1.0}), poll=poll)
    assert max(each.steps for each in WatchedEnv.made if each.evaluates == evaluates) == 3
    assert all(each.closed for each in WatchedEnv.made)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.filterwarnings("ignore:.*The reward is a:UserWarning", "ignore:invalid value:RuntimeWarning")
def test_a_mean_return_that_is_not_finite_is_refused(bad: float) -> None:
    reports = []
    with pytest.raises(ValueError, match=f"the mean return after 20 steps is {bad}"):
        run(EnvironmentSpec("Badly-v0", {"bad": bad}), report=lambda *report: reports.append(report))
    assert reports == []
    assert all(env.closed for env in WatchedEnv.made)


def test_params_are_left_as_they_are() -> None:
    arguments = params()
    before = copy.deepcopy(arguments)
    run(params=arguments)
    assert arguments == before


MASKED = {"env_wrapper": "sac_ext.ActionMasksInInfo"}


@pytest.mark.parametrize("actions", ["discrete", "multidiscrete", "multibinary"])
@pytest.mark.parametrize("deterministic", [True, False])
def test_only_allowed_actions_are_evaluated(actions: str, deterministic: bool) -> None:
    """The environment asserts it."""
    env = EnvironmentSpec("Masked-v0", {"actions": actions}, MASKED)
    protocol = Protocol(40, 2, episodes=3, deterministic=deterministic)
    assert math.isfinite(run(env, protocol).score)


def test_without_the_masks_other_actions_are_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above can fail."""
    monkeypatch.setattr(action_masks, "are_taken", lambda model, env: False)
    with pytest.raises(AssertionError, match="is not allowed"):
        run(EnvironmentSpec("Masked-v0", {"actions": "discrete"}, MASKED), Protocol(40, 2, episodes=3))


class AllowsEverything(RandomEnv):
    metadata = METADATA

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.render_mode = render_mode

    def action_masks(self) -> np.ndarray:
        return np.ones(4, dtype=bool)


@pytest.mark.parametrize(("algorithm", "actions"), [(DQN, "discrete"), (SoftAC, "discrete"), (SoftAC, "box")])
def test_models_that_take_no_masks_are_not_given_any(algorithm: Any, actions: str) -> None:
    gym.register("Allows-v0", AllowsEverything)
    try:
        make = lambda env, seed: algorithm("MlpPolicy", env, learning_starts=10, seed=seed)  # noqa: E731
        curve = train(make, EnvironmentSpec("Allows-v0", {"actions": actions}, MASKED), 0, Protocol(40, 2, episodes=2))
    finally:
        gym.registry.pop("Allows-v0")
    assert len(curve) == 2
