"""Search spaces from YAML to suggestions to arguments of SoftAC and back."""

import copy
import inspect
import math
from typing import Any

import gymnasium as gym
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rl_zoo3")
pytest.importorskip("optuna")
import optuna
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sac_ext import SoftAC
from sac_ext.tuning.entries import arguments_of, load_entry, our_config
from sac_ext.tuning.parameters import Space
from sac_ext.tuning.space import BUILT_IN, load_space, parse_space
from tests.catalogue import RandomEnv, small
from tests.compare import assert_same_models
from tests.tuning_help import parsed

OPTIONAL = ["gamma", "batch_size", "train_freq", "n_steps"]
ENTRIES: dict[str, dict[str, Any]] = yaml.safe_load(our_config().read_text())
LEARNED = {
    "actor_learning_rate": 2e-4,
    "critic_learning_rate": 5e-4,
    "tau": 0.02,
    "alpha": "learned",
    "alpha_initial": 0.25,
    "ent_coef_learning_rate": 1e-3,
}
FIXED = {"actor_learning_rate": 2e-4, "critic_learning_rate": 5e-4, "tau": 0.02, "alpha": "fixed", "alpha_fixed": 0.03}


def built_in(name: str, optional: bool = False) -> Space:
    return parse_space(load_space(name), name, OPTIONAL if optional else [])


def model_of(arguments: dict[str, Any], env: Any) -> SoftAC:
    """Small, and so that it learns soon."""
    fast = {"policy": "MlpPolicy", "learning_starts": 20, "buffer_size": 500, "seed": 0, "device": "cpu"}
    return SoftAC(**{"policy_kwargs": small()} | copy.deepcopy(arguments) | fast, env=env)


# ---------------------------------------------------------------- suggestions


@pytest.mark.parametrize(
    ("item", "value", "distribution", "text"),
    [
        ({"low": 0.1, "high": 1.0}, 0.3, FloatDistribution(0.1, 1.0), "tau: 0.1 to 1"),
        ({"low": 0, "high": 1.0}, 0.3, FloatDistribution(0, 1.0), "tau: 0 to 1"),
        ({"low": "1e-3", "high": 1, "log": True}, 0.3, FloatDistribution(1e-3, 1.0, log=True), "tau: 0.001 to 1, log"),
        ({"low": 0.0, "high": 1.0, "step": 0.25}, 0.5, FloatDistribution(0, 1, step=0.25), "tau: 0 to 1, step 0.25"),
        ({"low": 1, "high": 5}, 3, IntDistribution(1, 5), "tau: 1 to 5"),
        ({"low": 1, "high": 64, "log": True}, 8, IntDistribution(1, 64, log=True), "tau: 1 to 64, log"),
        ({"low": 0, "high": 8, "step": 4}, 4, IntDistribution(0, 8, step=4), "tau: 0 to 8, step 4"),
        ({"choices": [32, 64]}, 64, CategoricalDistribution((32, 64)), "tau: one of 32, 64"),
        ({"choices": [True, False]}, False, CategoricalDistribution((True, False)), "tau: one of True, False"),
        ({"choices": {"a": [8], "b": None}}, "b", CategoricalDistribution(("a", "b")), "tau: one of a, b"),
    ],
    ids=str,
)
def test_parameters_suggest_from_their_distributions(
    item: dict[str, Any], value: Any, distribution: Any, text: str
) -> None:
    space = parsed(tau=item)
    trial = optuna.trial.FixedTrial({"tau": value})
    suggested = space.suggest(trial)
    assert suggested == {"tau": value}
    assert type(suggested["tau"]) is type(value)
    assert trial.distributions == {"tau": distribution}
    assert str(space.parameters[0]) == text


@pytest.mark.parametrize("name", BUILT_IN)
def test_only_what_exists_is_suggested(name: str) -> None:
    space = built_in(name)
    assert space.conditional
    target = "target_scale" if name == "box" else "target_end"
    for params in (LEARNED | {target: 0.4}, FIXED):
        # asked for anything else, the trial would raise; given more, it shows that this is left
        trial = optuna.trial.FixedTrial(LEARNED | FIXED | {target: 0.4} | params)
        assert space.suggest(trial) == params
        assert set(trial.distributions) == set(params)
    shown = "alpha_fixed: 0.001 to 1, log, when alpha is fixed"
    assert shown in map(str, space.parameters)


def test_conditions_of_conditions_and_on_two_parameters() -> None:
    space = parsed(
        a={"choices": [1, 2], "argument": None},
        b={"choices": [1, 2], "argument": None, "when": {"a": 1}},
        gamma={"low": 0.5, "high": 1.0, "when": {"b": 2}},
        tau={"low": 0.5, "high": 1.0, "when": {"a": 1, "b": 1}},
    )
    for params in ({"a": 2}, {"a": 1, "b": 2, "gamma": 0.5}, {"a": 1, "b": 1, "tau": 0.6}):
        assert space.suggest(optuna.trial.FixedTrial({"b": 1, "gamma": 0.7, "tau": 0.7} | params)) == params
    assert str(space.parameters[-1]) == "tau: 0.5 to 1, when a is 1 and b is 1"
    assert not parsed(tau={"low": 0.5, "high": 1.0}).conditional


def test_optional_parameters_are_tuned_when_asked_for() -> None:
    always = ["tau"]
    for tune, more in (
        ([], []),
        (["gamma"], ["one_minus_gamma"]),  # by the argument
        (["one_minus_gamma"], ["one_minus_gamma"]),  # by the name
        (["gradient_steps"], ["train_freq"]),  # by one of two arguments
        (["n_steps", "gamma", "n_steps"], ["one_minus_gamma", "n_steps"]),  # in the order of the file
    ):
        space = parsed(
            *tune,
            tau={"low": 0.1, "high": 1.0, "optional": False},
            one_minus_gamma={"low": 0.1, "high": 0.5, "argument": "gamma", "one_minus": True, "optional": True},
            train_freq={"choices": [1, 4], "argument": ["train_freq", "gradient_steps"], "optional": True},
            n_steps={"low": 1, "high": 5, "optional": True},
        )
        assert [each.name for each in space.parameters] == always + more


# ---------------------------------------------------------------- arguments, there and back


@pytest.mark.parametrize(
    ("item", "value", "base", "arguments"),
    [
        ({"low": 0.1, "high": 1.0}, 0.3, {"gamma": 0.9}, {"tau": 0.3, "gamma": 0.9}),
        ({"low": 0.1, "high": 1.0}, 0.3, {"tau": 0.9}, {"tau": 0.3}),
        ({"low": 1, "high": 5, "argument": "n_steps"}, 3, {}, {"n_steps": 3}),
        ({"low": 0.1, "high": 1, "argument": "ent_coef", "format": "auto_{}"}, 0.3, {}, {"ent_coef": "auto_0.3"}),
        ({"low": 1, "high": 9, "argument": "ent_coef", "format": "({})"}, 3, {}, {"ent_coef": "(3)"}),
        ({"low": 1e-7, "high": 1, "argument": "ent_coef", "format": "{}"}, 1e-7, {}, {"ent_coef": "1e-07"}),
        ({"low": 0.125, "high": 0.5, "argument": "gamma", "one_minus": True}, 0.25, {}, {"gamma": 0.75}),
        (
            {"low": 1, "high": 9, "argument": ["train_freq", "gradient_steps"]},
            4,
            {},
            {"train_freq": 4, "gradient_steps": 4},
        ),
        (
            {"low": 0.1, "high": 1, "argument": "actor_learning_rate", "format": "like learning_rate"},
            0.5,
            {"learning_rate": "lin_0.2"},
            {"learning_rate": "lin_0.2", "actor_learning_rate": "lin_0.5"},
        ),
        (
            {"low": 0.1, "high": 1, "argument": "actor_learning_rate", "format": "like learning_rate"},
            0.5,
            {"learning_rate": "2e-1"},
            {"learning_rate": "2e-1", "actor_learning_rate": 0.5},
        ),
        (
            {"low": 0.1, "high": 1, "argument": "learning_rate", "format": "like learning_rate"},
            0.5,
            {"learning_rate": "lin_0.2"},
            {"learning_rate": "lin_0.5"},
        ),
        (
            {"choices": {"narrow": [8], "wide": [64, 64]}, "argument": "policy_kwargs.net_arch"},
            "wide",
            {"policy_kwargs": {"n_critics": 3, "net_arch": [1]}},
            {"policy_kwargs": {"n_critics": 3, "net_arch": [64, 64]}},
        ),
        (
            {"choices": {"a": {"x": 1}, "b": {"x": 2}}, "argument": "policy_kwargs.optimizer_kwargs.more"},
            "b",
            {},
            {"policy_kwargs": {"optimizer_kwargs": {"more": {"x": 2}}}},
        ),
        (
            {"low": 0.1, "high": 1.0, "argument": "policy_kwargs.dropout"},
            0.5,
            {"policy_kwargs": None},
            {"policy_kwargs": {"dropout": 0.5}},
        ),
        ({"choices": [True, False], "argument": "use_sde"}, True, {}, {"use_sde": True}),
        ({"choices": {"on": True, "off": False}, "argument": "use_sde"}, "off", {}, {"use_sde": False}),
    ],
    ids=str,
)
def test_proposals_become_arguments_and_are_read_from_them(
    item: dict[str, Any], value: Any, base: dict[str, Any], arguments: dict[str, Any]
) -> None:
    space, before = parsed(**({"tau": item} if "argument" not in item else {"name": item})), copy.deepcopy(base)
    name = space.parameters[0].name
    assert space.arguments({name: value}, base) == arguments
    assert base == before
    back = space.params_of(arguments)
    assert back == {name: value}
    assert type(back[name]) is type(value)


@pytest.mark.parametrize(
    "item",
    [
        {"choices": [0.1, 1.0], "argument": "ent_coef", "format": "auto_{}"},
        {"choices": [0.25, 0.5], "argument": "gamma", "one_minus": True},
    ],
    ids=str,
)
def test_choices_that_are_formatted_are_read_back(item: dict[str, Any]) -> None:
    space, params = parsed(name=item), {"name": item["choices"][0]}
    assert space.params_of(space.arguments(params, {})) == params


@pytest.mark.parametrize("gamma", [0.97, 0.9999])
@pytest.mark.parametrize("name", BUILT_IN)
def test_gammas_at_the_bounds_are_in_the_space(name: str, gamma: float) -> None:
    params = parse_space(load_space(name), name, ["gamma"]).params_of({"gamma": gamma})
    assert params is not None
    assert params["one_minus_gamma"] == pytest.approx(1 - gamma)


def test_a_switch_has_no_argument() -> None:
    space = parsed(alpha={"choices": ["learned", "fixed"], "argument": None})
    assert space.arguments({"alpha": "fixed"}, {"tau": 0.1}) == {"tau": 0.1}
    assert space.arguments({}, {"tau": 0.1}) == {"tau": 0.1}


@pytest.mark.parametrize(
    ("item", "base"),
    [
        ({"low": 0.1, "high": 1.0}, {}),  # nothing says what SoftAC uses
        ({"low": 0.1, "high": 1.0}, {"tau": 2.0}),
        ({"low": 0.1, "high": 1.0}, {"tau": 0.01}),
        ({"low": 0.1, "high": 1.0}, {"tau": math.nan}),
        ({"low": 0.1, "high": 1.0}, {"tau": "some"}),
        ({"low": 0.1, "high": 1.0}, {"tau": [0.5]}),
        ({"low": 0.1, "high": 1.0, "default": 0.5}, {"tau": 2.0}),
        ({"low": 0.1, "high": 1.0, "format": "auto_{}"}, {"tau": 0.5}),
        ({"low": 0.1, "high": 1.0, "format": "auto_{}"}, {"tau": "lin_0.5"}),
        ({"low": 0.1, "high": 1.0, "format": "auto_{}"}, {"tau": "auto_some"}),
        ({"low": 0.1, "high": 1.0, "format": "like learning_rate"}, {"tau": "lin_0.5", "learning_rate": 0.5}),
        ({"low": 0.1, "high": 1.0, "format": "like learning_rate"}, {"tau": 0.5, "learning_rate": "lin_0.5"}),
        ({"low": 1, "high": 9, "argument": ["train_freq", "gradient_steps"]}, {"train_freq": 2, "gradient_steps": 3}),
        ({"low": 1, "high": 9, "argument": ["train_freq", "gradient_steps"], "default": 1}, {"train_freq": 2}),
        ({"low": 1, "high": 9, "argument": "train_freq"}, {"train_freq": (1, "episode")}),
        ({"choices": [1, 2]}, {"tau": 3}),
        ({"choices": {"a": [1], "b": [2]}}, {"tau": "a"}),  # a name is no value
        ({"low": 0.1, "high": 1.0, "argument": "policy_kwargs.x"}, {"policy_kwargs": "dict(x=0.5)"}),
    ],
    ids=str,
)
def test_bases_outside_of_the_space_have_no_proposals(item: dict[str, Any], base: dict[str, Any]) -> None:
    assert parsed(tau=item).params_of(base) is None


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ({"low": 0.0, "high": 1.0, "step": 0.25}, 0.3),
        ({"low": 1, "high": 5}, 2.5),
        ({"low": 0, "high": 8, "step": 4}, 3),
    ],
)
def test_bases_between_the_steps_are_outside(item: dict[str, Any], value: float) -> None:
    assert parsed(tau=item).params_of({"tau": value}) is None


@pytest.mark.parametrize(
    ("base", "params"),
    [
        ({"learning_rate": 1e-3}, {"actor_learning_rate": 1e-3, "ent_coef_learning_rate": 1e-3}),
        ({"learning_rate": "lin_1e-3"}, {"critic_learning_rate": 1e-3, "ent_coef_learning_rate": 1e-3}),
        (
            {"learning_rate": "1e-3", "actor_learning_rate": "2e-3"},
            {"critic_learning_rate": 1e-3, "actor_learning_rate": 2e-3},
        ),
        ({"ent_coef": "auto_0.3"}, {"alpha": "learned", "alpha_initial": 0.3}),
        (
            {"ent_coef": "auto", "target_entropy": "auto"},
            {"alpha": "learned", "alpha_initial": 1.0, "target_scale": 1.0},
        ),
        ({"ent_coef": 0.3}, {"alpha": "fixed", "alpha_fixed": 0.3}),
        ({"ent_coef": "3e-1"}, {"alpha": "fixed", "alpha_fixed": 0.3}),
        ({"target_entropy": "per_dim:0.5"}, {"alpha": "learned", "target_scale": 0.5}),
    ],
    ids=str,
)
def test_a_base_is_a_point_of_the_space(base: dict[str, Any], params: dict[str, Any]) -> None:
    found = built_in("box").params_of(base)
    assert found is not None
    assert {name: found[name] for name in params} == params
    assert ("alpha_fixed" in found) != ("alpha_initial" in found)


@pytest.mark.parametrize(
    "base",
    [
        {"ent_coef": "lin_0.3"},
        {"target_entropy": -1.0},
        {"learning_rate": 1.0},
        {"ent_coef": 5.0},
        {"ent_coef": "auto_5"},
    ],
)
def test_bases_that_the_built_in_space_does_not_have(base: dict[str, Any]) -> None:
    assert built_in("box").params_of(base) is None


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_fixed_coefficient_replaces_what_a_base_says_of_learning_it(name: str) -> None:
    base = {"ent_coef": "auto_0.1", "ent_coef_learning_rate": 1e-3}
    model = model_of(built_in(name).arguments(FIXED, base), RandomEnv(actions=name))
    assert model.temperature.fixed_value(1.0) == FIXED["alpha_fixed"]


BASES: tuple[dict[str, Any], ...] = (
    {},
    {"policy": "MlpPolicy", "learning_rate": "lin_1e-3", "policy_kwargs": {"net_arch": [8]}},
    {"learning_rate": "1e-3", "ent_coef": "auto_0.5", "gamma": 0.5, "train_freq": (1, "episode")},
)


@st.composite
def proposals(draw: st.DrawFn, space: Space) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for each in space.parameters:
        if any(params.get(name) != value for name, value in each.when):
            continue
        if each.choices:
            values: st.SearchStrategy[Any] = st.sampled_from(each.choices)
        elif isinstance(each.low, int) and isinstance(each.high, int):
            values = st.integers(each.low, each.high)
        else:
            assert each.low is not None
            assert each.high is not None
            inside = 1e-9 if each.one_minus else 0.0  # which is rounded
            values = st.floats(each.low * (1 + inside), each.high * (1 - inside))
        params[each.name] = draw(values)
    return params


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("name", BUILT_IN)
@given(data=st.data(), base=st.sampled_from(BASES))
def test_any_proposal_becomes_arguments_and_is_read_from_them(
    name: str, optional: bool, data: st.DataObject, base: dict[str, Any]
) -> None:
    space = built_in(name, optional)
    params = data.draw(proposals(space))
    assert space.suggest(optuna.trial.FixedTrial(params)) == params
    before = copy.deepcopy(base)
    arguments = space.arguments(params, base)
    assert base == before
    untouched = {key: value for key, value in base.items() if key in ("policy", "learning_rate", "policy_kwargs")}
    assert untouched.items() <= arguments.items()
    if not optional and not isinstance(base.get("train_freq"), tuple):
        assert arguments.keys() - base.keys() <= {path for each in space.parameters for path in each.arguments}
    if optional:
        assert arguments["train_freq"] == arguments["gradient_steps"] == params["train_freq"]
        assert arguments["gamma"] == 1 - params["one_minus_gamma"]
    back = space.params_of(arguments)
    assert back is not None
    assert back.keys() == params.keys()
    for key, value in params.items():
        rounded = key == "one_minus_gamma"
        assert back[key] == (pytest.approx(value, rel=1e-9) if rounded else value)


@pytest.mark.parametrize("actions", ["box", "box-2d", "discrete", "multidiscrete", "multibinary"])
def test_models_have_what_was_proposed(actions: str) -> None:
    env, space = RandomEnv(actions=actions), built_in("box" if actions.startswith("box") else "discrete", optional=True)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    seen = set()
    for _ in range(8):
        params = space.suggest(study.ask())
        model = model_of(space.arguments(params, {}), env)
        seen.add(params["alpha"])
        assert model.tau == params["tau"]
        assert model.temperature.learned == (params["alpha"] == "learned")
        start = params["alpha_initial"] if model.temperature.learned else params["alpha_fixed"]
        assert model.temperature.initial_values == [pytest.approx(start)]
        assert model.batch_size == params["batch_size"]
        assert model.train_freq.frequency == model.gradient_steps == params["train_freq"]
        assert model.actor.optimizer.param_groups[0]["lr"] == pytest.approx(params["actor_learning_rate"])
    assert seen == {"learned", "fixed"}


# ---------------------------------------------------------------- the built-in spaces beside SoftAC's own defaults

DEFAULTS = {name: each.default for name, each in inspect.signature(SoftAC.__init__).parameters.items()}


@pytest.mark.parametrize("path", ["tau", "gamma", "batch_size", "train_freq", "gradient_steps", "n_steps"])
@pytest.mark.parametrize("name", BUILT_IN)
def test_defaults_are_those_of_the_signature(name: str, path: str) -> None:
    (parameter,) = [each for each in built_in(name, optional=True).parameters if path in each.arguments]
    assert parameter.written(parameter.default, {}) == DEFAULTS[path]


@pytest.mark.parametrize("name", BUILT_IN)
def test_default_learning_rates_are_those_of_the_signature(name: str) -> None:
    rates = [each for each in built_in(name).parameters if each.name.endswith("learning_rate")]
    assert len(rates) == 3
    assert {each.default for each in rates} == {DEFAULTS["learning_rate"]}


@pytest.mark.parametrize(
    ("name", "actions"),
    [
        ("box", "box"),
        ("box", "box-2d"),
        ("discrete", "discrete"),
        ("discrete", "multidiscrete"),
        ("discrete", "multibinary"),
    ],
)
def test_defaults_make_the_model_that_no_arguments_make(name: str, actions: str) -> None:
    space = built_in(name, optional=True)
    params = space.params_of({})
    assert params is not None
    assert params["alpha"] == "learned"
    models = []
    for arguments in ({}, space.arguments(params, {})):
        model = model_of(arguments, RandomEnv(actions=actions))
        models.append(model.learn(30))
    plain, given_all = models
    assert_same_models(plain, given_all)
    assert plain.temperature.target_nats == pytest.approx(given_all.temperature.target_nats)
    assert plain.temperature.initial_values == given_all.temperature.initial_values
    for attribute in ("gamma", "tau", "batch_size", "train_freq", "gradient_steps", "n_steps"):
        assert getattr(plain, attribute) == getattr(given_all, attribute)


@pytest.mark.parametrize("name", [name for name in ENTRIES if name in gym.registry or name == "default"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Box2D
def test_entries_are_in_the_space_and_mean_the_same_there(name: str) -> None:
    env = gym.make("CartPole-v1" if name == "default" else name)
    space = built_in("box" if isinstance(env.action_space, spaces.Box) else "discrete")
    base = arguments_of(load_entry(our_config(), env.spec.id if name != "default" else "Other-v0"))
    params = space.params_of(base)
    assert params is not None
    arguments = space.arguments(params, base)
    assert arguments != base
    models = [model_of(each, gym.make(env.spec.id)).learn(60) for each in (base, arguments)]
    assert models[0]._n_updates > 0
    assert_same_models(*models)
    for progress in (1.0, 0.5, 0.0):
        rates = []
        for model in models:
            model._current_progress_remaining = progress
            model._apply_learning_rates()
            optimizers = (model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer)
            rates.append([each.param_groups[0]["lr"] for each in optimizers if each is not None])
        assert rates[0] == rates[1]


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_defaults_lie_in_their_bounds(name: str) -> None:
    for parameter in built_in(name, optional=True).parameters:
        if parameter.default is not None:
            assert parameter.contains(parameter.default), parameter
