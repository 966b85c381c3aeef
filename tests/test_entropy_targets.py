"""Entropy targets: values, specs, and what is refused."""

import inspect
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import SAC

from sac_ext import (
    CallableTarget,
    ConstantTarget,
    EntropyContext,
    EntropyTarget,
    FractionTarget,
    LinearTarget,
    PerDimTarget,
    SoftAC,
)
from sac_ext.entropy import KINDS, check_reachable, parse_entropy_target, spec_of
from sac_ext.heads import make_head
from sac_ext.temperature import Temperature
from tests.catalogue import SMALL, RandomEnv
from tests.compare import assert_same_models

BOX = EntropyContext(0, 1.0, 0, action_dim=3, min_entropy=-math.inf, max_entropy=3 * math.log(2))
DISCRETE = EntropyContext(0, 1.0, 0, action_dim=1, min_entropy=0.0, max_entropy=math.log(4))


@pytest.mark.parametrize(
    ("spec", "target"),
    [
        ("auto", ConstantTarget(-2.0)),
        (-1.5, ConstantTarget(-1.5)),
        (1, ConstantTarget(1.0)),
        ("-1.5", ConstantTarget(-1.5)),
        ("1e-1", ConstantTarget(0.1)),
        ("constant:0.3", ConstantTarget(0.3)),
        ({"kind": "constant", "value": 0.3}, ConstantTarget(0.3)),
        ("per_dim", PerDimTarget(1.0)),
        ("per_dim:0.5", PerDimTarget(0.5)),
        ({"kind": "per_dim"}, PerDimTarget(1.0)),
        ({"kind": "per_dim", "scale": "5e-1"}, PerDimTarget(0.5)),
        ("fraction:0.5", FractionTarget(0.5)),
        ({"kind": "fraction", "rho": 0.98}, FractionTarget(0.98)),
        (FractionTarget(0.2), FractionTarget(0.2)),
    ],
)
def test_a_spec_gives_this_target(spec: Any, target: EntropyTarget) -> None:
    assert parse_entropy_target(spec, default=-2.0) == target


def test_values() -> None:
    assert ConstantTarget(-3.0).value(BOX) == -3.0
    assert PerDimTarget().value(BOX) == -3.0
    assert PerDimTarget(0.5).value(BOX) == -1.5
    assert FractionTarget(0.5).value(DISCRETE) == pytest.approx(math.log(2))
    assert CallableTarget(lambda progress: 2 * progress).value(replace(BOX, progress_remaining=0.25)) == 0.5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fractoin:0.5", "did you mean 'fraction'"),
        ("atuo", "did you mean 'auto'"),
        ({"kind": "per-dim"}, "did you mean 'per_dim'"),
        ("x", "constant, per_dim, sigma, fraction"),
        ({"kind": ["fraction"]}, "not known"),
        ({"rho": 0.5}, "needs a 'kind', one of constant, per_dim, sigma"),
        ({"kind": "fraction", "scale": 0.5}, r"takes the keys rho \(of which rho must be given\), got scale"),
        ({"kind": "fraction"}, "takes the keys rho .*, got none"),
        ("fraction", "takes the keys rho .*, got none"),
        ("linear:0.5", "takes the keys start, end, over .*, got start"),
        ("linear:0.6->0.2@1.5", "over of a linear target_entropy must be between 0 and 1"),
        ("linear:0.6->x", "end of a linear target_entropy must be a number"),
        ("exponential:0.6->0", "have the same sign and are not 0"),
        ("fraction:0.6->0.2", "takes the keys rho .*, got start, end"),
        ("annealed:0.1->0.5", "end=0.5 is above start=0.1"),
        (
            {"kind": "annealed", "start": 0.5, "end": 0.1, "factor": 1},
            "factor of target_entropy AnnealedTarget must be below 1",
        ),
        (
            {"kind": "on_plateau", "start": 0.5, "end": 0.1, "patience": 0},
            "patience of target_entropy OnPlateauTarget must be >= 1",
        ),
        ("sigma:0", "sigma of a sigma target_entropy must be greater than 0"),
        ("epsilon:2", "epsilon of an epsilon target_entropy must be between 0 and 1"),
        ("fraction:1.1", "rho of a fraction target_entropy must be between 0 and 1, got 1.1"),
        ("fraction:0", "must be greater than 0"),
        ("fraction:half", "must be a number, got the string 'half'"),
        ("auto:0.5", "'auto' is not a kind and takes no number"),
        ("FRACTION:0.5", "did you mean 'fraction'"),
        ({"kind": "auto"}, "is not a kind"),
        ({"kind": None}, "None is not known: Give"),
        ({"kind": "annealed", "start": 0.9, "end": 0.1, "factor": 3}, "factor of target_entropy AnnealedTarget"),
        ({"kind": "on_plateau", "start": 0.9, "end": 0.1, "patience": 1.5}, "patience .* must be an integer, got 1.5"),
        pytest.param(10**400, "too large for a float", id="large"),
        ([], "an empty list"),
        (["fraction:2"], "between 0 and 1"),
        ("nan", "must be finite"),
        (math.inf, "must be finite"),
    ],
)
def test_bad_specs(spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_entropy_target(spec, default=0.1)


@pytest.mark.parametrize("spec", [None, True, [True]])
def test_specs_of_a_wrong_type(spec: Any) -> None:
    with pytest.raises(TypeError, match=r"target_entropy must be a number in nats, a string, a dict.*got"):
        parse_entropy_target(spec, default=0.1)


@given(st.one_of(st.text(), st.builds("{}:{}".format, st.sampled_from(sorted(KINDS)), st.text())))
def test_any_string_is_a_target_or_a_value_error(spec: str) -> None:
    error = None
    try:
        assert isinstance(parse_entropy_target(spec, default=0.1), EntropyTarget)
    except ValueError as refused:
        error = refused
    assert error is None or all(kind in str(error) for kind in KINDS)


NUMBERS = st.sampled_from([-1, 0, 0.2, 0.5, 1.0, 2, "0.5", "1e4", 1000])
VALUES = st.one_of(NUMBERS, NUMBERS, NUMBERS, st.none(), st.booleans(), st.integers(), st.floats(), st.text())


def dicts_of(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    names = ["value" if name == "nats" else name for name in inspect.signature(KINDS[kind]).parameters]
    others = st.dictionaries(st.text(), VALUES, max_size=1)
    return st.builds(
        lambda given, other: {"kind": kind} | given | other,
        st.fixed_dictionaries({}, optional=dict.fromkeys(names, VALUES)),
        st.one_of(st.just({}), others),
    )


@given(st.one_of(VALUES, st.dictionaries(st.text(), VALUES), st.sampled_from(sorted(KINDS)).flatmap(dicts_of)))
def test_any_data_is_a_target_or_refused(spec: Any) -> None:
    for data in (spec, [spec], [spec, "auto"]):
        try:
            target = parse_entropy_target(data, default=0.1)
        except (ValueError, TypeError):
            continue
        assert isinstance(target, EntropyTarget)
        assert parse_entropy_target(spec_of(target), default=0.1) == target


@pytest.mark.parametrize("nats", [-0.1, 0.0, math.log(4) + 0.01])
def test_discrete_range(nats: float) -> None:
    with pytest.raises(ValueError, match=r"cannot be reached: .* above 0 and at most 1\.386"):
        check_reachable(nats, DISCRETE)


def test_box_range() -> None:
    check_reachable(-100.0, BOX)
    with pytest.raises(ValueError, match=r"at most 2\.079"):
        check_reachable(2.1, BOX)


@pytest.mark.parametrize(
    "spec", [3.0, "linear:-2->1.5", "per_dim:-1", "annealed:1.5->0", lambda progress: 1.5 - progress]
)
def test_what_is_above_the_uniform_policy_is_refused_on_box(spec: Any) -> None:
    with pytest.raises(ValueError, match=r"nats cannot be reached.*at most 1\.386"):
        SoftAC("MlpPolicy", RandomEnv(), target_entropy=spec, policy_kwargs=SMALL)


def test_kinds_of_the_other_family_are_refused() -> None:
    for spec, way_out in (("fraction:0.5", "per_dim"), ("epsilon:0.1", "sigma")):
        with pytest.raises(ValueError, match=way_out):
            SoftAC("MlpPolicy", RandomEnv(), target_entropy=spec)
    with pytest.raises(ValueError, match="fraction"):
        SoftAC("MlpPolicy", RandomEnv(actions="discrete"), target_entropy="sigma:0.15")


@pytest.mark.parametrize("spec", ["linear:0.5->0", "cosine:1.1->0.5", "annealed:0.5->0", "on_plateau:0.5->-0.1"])
def test_schedules_that_leave_the_range_of_discrete_actions_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be reached: .* above 0 and at most 1\.386"):
        SoftAC("MlpPolicy", RandomEnv(actions="discrete"), target_entropy=spec, policy_kwargs=SMALL)


def test_minus_the_dimension_is_unreachable_on_discrete() -> None:
    with pytest.raises(ValueError, match="cannot be reached"):
        SoftAC("MlpPolicy", RandomEnv(actions="discrete"), target_entropy="per_dim")


def test_a_function_that_leaves_the_range_later_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"target_entropy of 1\.4 nats cannot be reached"):
        SoftAC("MlpPolicy", RandomEnv(actions="discrete"), target_entropy=lambda progress: 1.5 - progress)


@dataclass
class Own(EntropyTarget):
    """A user's target: follows progress, remembers what was measured."""

    seen: list[float]
    progress: list[float]

    def value(self, context: EntropyContext) -> float:
        assert context.max_entropy == pytest.approx(math.log(4))
        assert context.n_updates == len(self.seen)
        assert context.progress_remaining == pytest.approx(self.progress[len(self.seen)])
        return 1.0 if context.num_timesteps < 40 else 0.5

    def observe(self, mean_entropy: float) -> None:
        self.seen.append(mean_entropy)


def test_a_target_of_ones_own_is_asked_and_told() -> None:
    progress = [1 - step / 30 for step in range(11, 31)] + [1 - step / 50 for step in range(31, 51)]
    target = Own(seen=[], progress=progress)
    model = SoftAC(
        "MlpPolicy",
        RandomEnv(actions="discrete"),
        target_entropy=target,
        learning_starts=10,
        batch_size=8,
        policy_kwargs=SMALL,
    )
    model.learn(30, log_interval=1000)
    assert model.logger.name_to_value["train/target_entropy"] == 1.0
    assert len(target.seen) == 20
    assert target.seen[-1] == model.logger.name_to_value["train/entropy"]
    assert all(0 < entropy <= math.log(4) for entropy in target.seen)
    model.learn(20, reset_num_timesteps=False, log_interval=1000)
    assert model.logger.name_to_value["train/target_entropy"] == 0.5


def test_what_is_unreachable_in_mid_training_stops_it_before_the_step() -> None:
    class Late(EntropyTarget):
        def value(self, context: EntropyContext) -> float:
            return 1.0 if context.num_timesteps < 30 else 2.0

    model = SoftAC(
        "MlpPolicy", RandomEnv(actions="discrete"), target_entropy=Late(), learning_starts=10, policy_kwargs=SMALL
    )
    with pytest.raises(ValueError, match=r"2 nats cannot be reached"):
        model.learn(60)
    assert model.num_timesteps == 30
    assert model._n_updates == 19


def test_a_function_is_followed_through_training() -> None:
    model = SoftAC(
        "MlpPolicy",
        RandomEnv(actions="discrete"),
        target_entropy=lambda progress: 0.2 + progress,
        learning_starts=10,
        policy_kwargs=SMALL,
    )
    seen = []
    model.learn(
        40,
        callback=lambda *_: seen.append(model.logger.name_to_value.get("train/target_entropy")) or True,
        log_interval=99,
    )
    expected = [0.2 + 1 - step / 40 for step in range(11, 40)]
    assert [value for value in seen if value] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("actions", "default", "maximum"),
    [
        ("box", ConstantTarget(-2.0), 2 * math.log(2)),
        ("box-2d", ConstantTarget(-4.0), 4 * math.log(2)),
        ("discrete", LinearTarget(0.5, 0.1, 0.5), math.log(4)),
        ("discrete-start", LinearTarget(0.5, 0.1, 0.5), math.log(3)),
    ],
)
def test_defaults_by_space(actions: str, default: EntropyTarget, maximum: float) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions=actions), policy_kwargs=SMALL)
    assert model.temperature.target == default
    assert model.head.max_entropy == pytest.approx(maximum)
    assert model.target_entropy == "auto"  # what the user passed stays
    continuous = actions.startswith("box")
    assert model.log_ent_coef.detach().exp().item() == pytest.approx(1.0 if continuous else 0.1)
    bounds = model._update.log_ent_coef_bounds
    assert bounds is None if continuous else bounds == pytest.approx((math.log(1e-4), math.log(10)))


def test_a_target_of_ones_own_that_gives_no_number() -> None:
    class Forgetful(EntropyTarget):
        def value(self, context: EntropyContext) -> float:
            return None  # type: ignore[return-value]

        def __repr__(self) -> str:
            return "Forgetful()"

    model = SoftAC("MlpPolicy", RandomEnv(), target_entropy=Forgetful(), learning_starts=10, policy_kwargs=SMALL)
    with pytest.raises(TypeError, match=r"value of target_entropy Forgetful\(\) must be a number, got None"):
        model.learn(20)


@pytest.mark.parametrize(("function", "error"), [(lambda _: None, TypeError), (lambda _: "x", ValueError)])
def test_a_function_that_gives_no_number(function: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"target_entropy \(at progress_remaining=1\) must be a number"):
        SoftAC("MlpPolicy", RandomEnv(), target_entropy=function)


class Counting(EntropyTarget):
    def __init__(self) -> None:
        self.calls = 0

    def value(self, context: EntropyContext) -> float:
        self.calls += 1
        return -1.0


def test_a_target_is_asked_once_per_train_and_at_no_other_time(tmp_path: Path) -> None:
    target = Counting()
    model = SoftAC("MlpPolicy", RandomEnv(), target_entropy=target, learning_starts=10, policy_kwargs=SMALL)
    model.learn(15)
    assert target.calls == 5
    model.save(tmp_path / "model")
    assert SoftAC.load(tmp_path / "model").target_entropy.calls == 5


def test_a_target_set_on_the_model_takes_effect_as_on_sac() -> None:
    models = []
    for algorithm in (SAC, SoftAC):
        model = algorithm("MlpPolicy", RandomEnv(), seed=0, learning_starts=10, policy_kwargs=SMALL)
        models.append(model.learn(20))
        model.target_entropy = -7.0
        model.learn(20, reset_num_timesteps=False)
    assert_same_models(*models)
    assert models[1].logger.name_to_value["train/target_entropy"] == -7.0
    models[1].target_entropy = "per_dim:3"
    models[1].learn(20, reset_num_timesteps=False)
    assert models[1].logger.name_to_value["train/target_entropy"] == -6.0


def test_the_class_of_a_target_is_no_target() -> None:
    with pytest.raises(TypeError, match="got the class PerDimTarget: call it to create one"):
        parse_entropy_target(PerDimTarget, default=0.1)


def test_a_schedule_that_is_set_later_is_looked_at_to_its_end() -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), seed=0, learning_starts=10, policy_kwargs=SMALL)
    model.learn(20)
    model.target_entropy = "linear:0.5->1.5"
    with pytest.raises(ValueError, match="cannot be reached"):
        model.learn(20, reset_num_timesteps=False)


@pytest.mark.parametrize("target", ["auto", lambda progress: 0.2 + 0.5 * progress])
def test_a_schedule_that_starts_over_says_so(target: Any, tmp_path: Path) -> None:
    env, options = RandomEnv(actions="discrete"), {"seed": 0, "learning_starts": 10, "policy_kwargs": SMALL}
    model = SoftAC("MlpPolicy", env, target_entropy=target, **options)
    model.learn(20)
    model.learn(20, reset_num_timesteps=False)
    with pytest.warns(UserWarning, match=r"target_entropy (Linear|Callable)Target\(.* starts over") as caught:
        model.learn(20)
    assert [warning.filename for warning in caught] == [__file__]
    model.save(tmp_path / "model")
    with pytest.warns(UserWarning, match="starts over"):
        SoftAC.load(tmp_path / "model", env=env).learn(20)


@pytest.mark.filterwarnings("error:target_entropy")
def test_another_target_does_not_start_over(tmp_path: Path) -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), seed=0, learning_starts=10, policy_kwargs=SMALL)
    model.learn(20)
    model.target_entropy = "fraction:0.1"
    model.learn(20).learn(20)
    model.target_entropy = "linear:0.3->0.1"
    model.learn(20)
    model.save(tmp_path / "model")
    SoftAC.load(tmp_path / "model", env=model.get_env(), target_entropy="linear:0.2->0.1").learn(20)


def test_a_target_that_is_refused_leaves_the_one_before() -> None:
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), seed=0, learning_starts=10, policy_kwargs=SMALL)
    kept = model.learn(20).target_entropy
    model.target_entropy = "linear:0.5->1.5"
    with pytest.raises(ValueError, match="cannot be reached"):
        model.learn(20, reset_num_timesteps=False)
    model.target_entropy = kept
    model.learn(20, reset_num_timesteps=False)
    assert model.temperature.target == LinearTarget(0.5, 0.1, 0.5)


class Remembers(EntropyTarget):
    """Its level is an attribute; nothing is expected of what was saved but what it saved."""

    def __init__(self) -> None:
        self.level, self.observed = 0.7, 0

    def value(self, context: EntropyContext) -> float:
        return self.level

    def observe(self, mean_entropy: float) -> None:
        self.observed += 1
        self.level = 0.6

    def state_dict(self) -> dict[str, Any]:
        return {"level": self.level}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.level = state["level"]


def test_a_target_of_ones_own_that_remembers(tmp_path: Path) -> None:
    target = Remembers()
    options: dict[str, Any] = {"seed": 0, "learning_starts": 10, "policy_kwargs": SMALL}
    model = SoftAC("MlpPolicy", RandomEnv(actions="discrete"), target_entropy=target, **options).learn(20)
    assert target.observed == 10
    model.save(tmp_path / "model")
    assert SoftAC.load(tmp_path / "model").temperature.target.level == 0.6
    SoftAC("MlpPolicy", RandomEnv(actions="discrete"), target_entropy=target, **options)
    assert target.level == 0.6


def test_an_untrained_file_with_a_target_out_of_reach_can_be_loaded_with_another(tmp_path: Path) -> None:
    SAC("MlpPolicy", RandomEnv(), target_entropy=5.0, policy_kwargs={"net_arch": [8]}).save(tmp_path / "model")
    SoftAC.load(tmp_path / "model", env=RandomEnv(), target_entropy="auto").learn(110)
    with pytest.raises(ValueError, match="5 nats cannot be reached"):
        SoftAC.load(tmp_path / "model", env=RandomEnv()).learn(1)


def test_a_bound_that_is_left_again_is_not_warned_of(recwarn: pytest.WarningsRecorder) -> None:
    defaults = make_head(spaces.Discrete(4)).defaults
    temperature = Temperature("auto", (0.01, 10.0), 0.5, defaults)
    for ent_coef in (0.02, 0.01, 0.012, 0.01, 0.011):
        temperature.warn_of_held_bounds([ent_coef], [0.5])
    assert not recwarn.list
    for _ in range(3):
        temperature.warn_of_held_bounds([0.01], [0.5])
    assert [str(warning.message)[:32] for warning in recwarn.list] == ["ent_coef is held at its bound 0."]
