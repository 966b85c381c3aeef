"""Training runs and how they are measured: protocols, metrics, curves, reports, environments by their ids."""

import copy
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3 import DQN
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_wrapper

pytest.importorskip("rl_zoo3")
pytest.importorskip("optuna")
from sac_ext import SoftAC, action_masks
from sac_ext.tuning.environments import EnvironmentSpec
from sac_ext.tuning.evaluate import (
    EVALUATION_SEED_OFFSET,
    METRICS,
    Evaluation,
    Protocol,
    evaluate,
    is_stochastic,
    train,
)
from tests.catalogue import MaskedEnv, RandomEnv, small

METADATA = {"render_modes": ["rgb_array"], "render_fps": 1}  # SB3 asks for rgb_array, gymnasium warns without


class WatchedEnv(RandomEnv):
    """Remembers what was done to it. Its space is its own, so that no environment draws another's observations."""

    metadata = METADATA
    made: ClassVar[list["WatchedEnv"]] = []

    def __init__(self, render_mode: str | None = None, reward: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observation_space = copy.deepcopy(self.observation_space)
        self.render_mode, self.reward = render_mode, reward
        self.seeds: list[int] = []
        self.steps, self.closed = 0, False
        WatchedEnv.made.append(self)

    @property
    def evaluates(self) -> bool:
        return bool(self.seeds) and self.seeds[0] >= EVALUATION_SEED_OFFSET

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        if seed is not None:
            self.seeds.append(seed)
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = super().step(action)
        self.steps += 1
        if self.reward is not None:
            reward, terminated = self.reward, False
        return obs, reward, terminated, truncated, info

    def close(self) -> None:
        self.closed = True


class BadlyEvaluatedEnv(WatchedEnv):
    """Rewards that are none, where it is evaluated."""

    def __init__(self, bad: float = math.nan, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bad = bad

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        obs, reward, terminated, truncated, info = super().step(action)
        return obs, self.bad if self.evaluates else reward, terminated, truncated, info


class RefusingEnv(RandomEnv):
    metadata = METADATA

    def __init__(self, render_mode: str | None = None, gravity: float = 1.0) -> None:
        assert gravity > 0, "gravity must be positive"
        super().__init__()


class WatchedMaskedEnv(MaskedEnv):
    metadata = METADATA

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observation_space = copy.deepcopy(self.observation_space)


class Padded(gym.ObservationWrapper):
    """A wrapper to be named in options."""

    def __init__(self, env: gym.Env, zeros: int = 1) -> None:
        super().__init__(env)
        self.zeros = zeros
        self.observation_space = spaces.Box(-1.0, 1.0, (3 + zeros,), np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.concatenate([observation, np.zeros(self.zeros, np.float32)])


IDS = {
    "Watched-v0": WatchedEnv,
    "Badly-v0": BadlyEvaluatedEnv,
    "Refusing-v0": RefusingEnv,
    "Masked-v0": WatchedMaskedEnv,
}


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    WatchedEnv.made.clear()
    for env_id, entry_point in IDS.items():
        gym.register(env_id, entry_point)
    yield
    for env_id in IDS:
        del gym.registry[env_id]


def params(**others: Any) -> dict[str, Any]:
    fast = {"learning_starts": 20, "batch_size": 8, "buffer_size": 200, "train_freq": 4, "policy_kwargs": small()}
    return fast | others


SHORT = Protocol(steps=60, evaluations=3, episodes=2)
WATCHED = EnvironmentSpec("Watched-v0")


def run(env: EnvironmentSpec = WATCHED, protocol: Protocol = SHORT, seeds: Any = (0,), **others: Any) -> Evaluation:
    arguments = others.pop("params", None) or params()
    return evaluate(arguments, env, seeds, others.pop("report", None), protocol=protocol, device="cpu", **others)


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


# ---------------------------------------------------------------- environments


def test_environments_of_minatar_are_found() -> None:
    pytest.importorskip("minatar")
    env = EnvironmentSpec("MinAtar/Breakout-v1").make(0)
    assert env.action_space.n == 3
    env.close()


def test_evaluations_see_the_statistics_of_training_and_rewards_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Returns are as they are, and evaluations see the statistics of training."""
    made: list[Any] = []
    make = EnvironmentSpec.make
    monkeypatch.setattr(EnvironmentSpec, "make", lambda *args, **kwargs: made.append(make(*args, **kwargs)) or made[-1])
    env = EnvironmentSpec("Watched-v0", {"reward": 100.0, "episode_length": 5}, {"normalize": True})
    counts = []

    def report(index: int, step: int, value: float) -> None:
        training, evaluation = (unwrap_vec_wrapper(each, VecNormalize) for each in made)
        np.testing.assert_array_equal(training.obs_rms.mean, evaluation.obs_rms.mean)
        assert training.obs_rms.mean.any()
        assert (training.training, training.norm_reward) == (True, True)
        assert (evaluation.training, evaluation.norm_reward) == (False, False)
        counts.append(evaluation.obs_rms.count)
        assert value == 500.0

    run(env, report=report)
    assert counts[0] + 20 == counts[1]
    assert counts[1] + 20 == counts[2]


@pytest.mark.parametrize(
    ("normalize", "obs", "reward"),
    [
        (True, True, True),
        ("{'norm_obs': True, 'norm_reward': False}", True, False),
        ("dict(norm_obs=False)", False, True),
        ({"norm_obs": False, "norm_reward": True}, False, True),
    ],
)
def test_the_option_says_what_is_normalised(normalize: Any, obs: bool, reward: bool) -> None:
    spec = EnvironmentSpec("Watched-v0", options={"normalize": normalize})
    for training in (True, False):
        env = unwrap_vec_wrapper(spec.make(0, training=training), VecNormalize)
        assert (env.norm_obs, env.norm_reward, env.training) == (obs, reward and training, training)


@pytest.mark.parametrize(
    ("options", "shape", "n_envs"),
    [
        ({}, (3,), 1),
        ({"n_envs": 3}, (3,), 3),
        ({"normalize": False, "frame_stack": None, "env_wrapper": None}, (3,), 1),
        ({"frame_stack": 4}, (12,), 1),
        ({"env_wrapper": f"{__name__}.Padded"}, (4,), 1),
        ({"env_wrapper": [{f"{__name__}.Padded": {"zeros": 2}}]}, (5,), 1),
        ({"vec_env_wrapper": "stable_baselines3.common.vec_env.VecCheckNan"}, (3,), 1),
        ({"vec_env_wrapper": {"stable_baselines3.common.vec_env.VecFrameStack": {"n_stack": 2}}}, (6,), 1),
        ({"monitor_kwargs": "dict(info_keywords=())"}, (3,), 1),
        ({"n_envs": 2, "normalize": True, "env_wrapper": f"{__name__}.Padded"}, (4,), 2),
        ({"n_envs": 2, "frame_stack": 2, "env_wrapper": f"{__name__}.Padded"}, (8,), 2),
    ],
    ids=str,
)
def test_options_of_the_zoo_wrap_the_environment(options: dict[str, Any], shape: tuple[int, ...], n_envs: int) -> None:
    spec = EnvironmentSpec("Watched-v0", options=options)
    before = copy.deepcopy(spec)
    assert spec.n_envs == n_envs
    env = spec.make(0)
    assert (env.observation_space.shape, env.num_envs) == (shape, n_envs)
    assert spec.make(0, n_envs=4).num_envs == 4
    assert (unwrap_vec_wrapper(env, VecNormalize) is not None) == bool(options.get("normalize"))
    assert math.isfinite(run(spec, Protocol(40, 2, episodes=2)).score)
    assert spec == before


def test_normalisation_and_frame_stack_work_together() -> None:
    spec = EnvironmentSpec("Watched-v0", options={"frame_stack": 2, "normalize": True})
    assert math.isfinite(run(spec).score)


def test_an_entry_gives_options_and_keyword_arguments() -> None:
    entry = {"n_envs": 2, "tau": 0.1, "normalize": True, "env_kwargs": {"a": 1, "b": 2}, "n_timesteps": 5}
    before = copy.deepcopy(entry)
    spec = EnvironmentSpec.of_entry("A-v0", entry, {"b": 3})
    assert spec == EnvironmentSpec("A-v0", {"a": 1, "b": 3}, {"n_envs": 2, "normalize": True})
    assert entry == before
    assert EnvironmentSpec.of_entry("A-v0", {"env_kwargs": None}, {}) == EnvironmentSpec("A-v0")


@pytest.mark.parametrize("actions", ["box", "discrete", "multidiscrete"])
def test_the_action_space_is_looked_up_and_the_environment_closed(actions: str) -> None:
    spec = EnvironmentSpec("Watched-v0", {"actions": actions}, {"n_envs": 3})
    assert spec.action_space() == RandomEnv(actions=actions).action_space
    assert [env.closed for env in WatchedEnv.made] == [True]


def test_an_id_may_name_the_module_that_registers_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "import gymnasium\ngymnasium.register('Mine-v0', 'tests.test_tuning_evaluate:WatchedEnv')\n"
    (tmp_path / "my_module.py").write_text(text)
    with pytest.raises(ValueError, match="'my_module:Mine-v0': cannot import 'my_module'"):
        EnvironmentSpec("my_module:Mine-v0").check()
    monkeypatch.syspath_prepend(tmp_path)
    try:
        EnvironmentSpec("my_module:Mine-v0").check()
        assert math.isfinite(run(EnvironmentSpec("my_module:Mine-v0")).score)
        with pytest.raises(ValueError, match=r"no environment 'my_module:Mein-v0' .* Did you mean Mine-v0"):
            EnvironmentSpec("my_module:Mein-v0").check()
    finally:
        gym.registry.pop("Mine-v0", None)
        sys.modules.pop("my_module", None)


@pytest.mark.parametrize(
    ("env_id", "message"),
    [
        ("CartPoel-v1", "There is no environment 'CartPoel-v1' .* Did you mean CartPole-v1"),
        ("CartPole-v9", "There is no environment 'CartPole-v9' .* Did you mean CartPole-v"),
        ("CartPole", "There is no environment 'CartPole' .* Did you mean CartPole-v1"),
        ("Zzzyzx-v0", "There is no environment 'Zzzyzx-v0' .* Ids of other packages are written module:id"),
        ("", "There is no environment ''"),
        ("no.such.module:CartPole-v1", "'no.such.module:CartPole-v1': cannot import 'no.such.module'"),
    ],
)
def test_unknown_environments_are_refused_with_the_nearest(env_id: str, message: str) -> None:
    for call in (
        EnvironmentSpec(env_id).check,
        EnvironmentSpec(env_id).action_space,
        lambda: EnvironmentSpec(env_id).make(0),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env_wrapper": f"{__name__}.Pad"}, "Cannot find the env_wrapper 'tests.test_tuning_evaluate.Pad'"),
        ({"env_wrapper": "no_such_module.Padded"}, "Cannot find the env_wrapper 'no_such_module.Padded'"),
        ({"env_wrapper": [3]}, "Cannot find the env_wrapper"),
        ({"vec_env_wrapper": "VecCheckNan"}, "Cannot find the vec_env_wrapper 'VecCheckNan'"),
        ({"env_wrapper": {f"{__name__}.Padded": {"ones": 1}}}, "Cannot make 'Watched-v0'"),
        ({"monitor_kwargs": {"color": "red"}}, "Cannot make 'Watched-v0'"),
        ({"normalize": "dict(norm_obs="}, "normalize cannot be evaluated as a Python expression"),
    ],
    ids=str,
)
def test_options_that_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnvironmentSpec("Watched-v0", options=options).make(0)


def test_keyword_arguments_that_an_environment_does_not_take_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Cannot make 'Watched-v0' with \{'gravity': 9.8\}: .*gravity"):
        EnvironmentSpec("Watched-v0", {"gravity": 9.8}).make(0)


def test_values_that_an_environment_does_not_take_are_refused() -> None:
    assert EnvironmentSpec("Refusing-v0").make(0).num_envs == 1
    with pytest.raises(ValueError, match="gravity must be positive"):
        EnvironmentSpec("Refusing-v0", {"gravity": -1.0}).make(0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (EnvironmentSpec(".relative:CartPole-v1"), "cannot import '.relative'"),
        (EnvironmentSpec("Watched-v0", options={"n_envs": 0}), "n_envs must be at least 1, got 0"),
        (EnvironmentSpec("Watched-v0", options={"normalize": {"norm_all": True}}), "that VecNormalize does not take"),
        (EnvironmentSpec("Watched-v0", options={"env_wrapper": {"a.B": {}, "c.D": {}}}), "Cannot find the env_wrapper"),
    ],
    ids=str,
)
def test_what_is_written_wrongly_is_a_value_error(spec: EnvironmentSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec.make(0)


def test_atari_is_evaluated_with_randomness() -> None:
    gym.register("Pong-v99", "ale_py.env:AtariEnv")
    try:
        assert is_stochastic("Pong-v99")
        assert is_stochastic("ale_py:Pong-v99")
        assert not is_stochastic("CartPole-v1")
    finally:
        del gym.registry["Pong-v99"]
