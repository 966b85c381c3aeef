"""Search spaces that are refused, with what is wrong and where."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("rl_zoo3")
pytest.importorskip("optuna")

from sac_ext.tuning.space import load_space, parse_space
from tests.tuning_help import parsed


@pytest.mark.parametrize("data", [None, [], {}, "tau", 3, [{"tau": {"low": 0.1, "high": 1.0}}]])
def test_a_space_is_a_dict(data: Any) -> None:
    message = re.escape(f"file.yml must map parameter names to their properties, got {data!r}")
    with pytest.raises(ValueError, match=message):
        parse_space(data, "file.yml")


@pytest.mark.parametrize("item", [None, 0.1, "0.1", [0.1, 1.0]])
def test_a_parameter_is_a_dict(item: Any) -> None:
    with pytest.raises(
        ValueError,
        match=re.escape(f"file.yml: tau must have properties such as low and high, or choices; got {item!r}"),
    ):
        parsed(tau=item)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"lo": 0.1, "high": 1.0}, "has the unknown property 'lo'; did you mean 'low'?"),
        ({"choice": [1, 2]}, "has the unknown property 'choice'; did you mean 'choices'?"),
        ({"low": 0.1, "high": 1.0, "xyz": 1}, "has the unknown property 'xyz'; known: argument, choices, default"),
        ({"low": 0.1, "high": 1.0, 3: 4}, "has the unknown property 3; known: argument"),
        ({"low": 0.1, "high": 1.0, "argument": "taw"}, "SoftAC has no argument 'taw'; did you mean 'tau'?"),
        ({"low": 0.1, "high": 1.0, "argument": ["tau", "gama"]}, "no argument 'gama'; did you mean 'gamma'?"),
        ({"low": 0.1, "high": 1.0, "argument": "policy_kwarg.x"}, "'policy_kwarg.x'; did you mean 'policy_kwargs'?"),
        ({"low": 0.1, "high": 1.0, "argument": "env"}, "SoftAC has no argument 'env'"),
        ({"low": 0.1, "high": 1.0, "argument": "self"}, "SoftAC has no argument 'self'"),
        ({"low": 0.1}, "needs low and high, or choices"),
        ({"high": 0.1}, "needs low and high, or choices"),
        ({"low": None, "high": 0.1}, "needs low and high, or choices"),
        ({}, "needs low and high, or choices"),
        ({"low": 1.0, "high": 0.1}, "low must be below high, got 1.0 and 0.1"),
        ({"low": 1, "high": 1}, "low must be below high, got 1 and 1"),
        ({"low": "some", "high": 1}, "low must be a number, got 'some'"),
        ({"low": 0, "high": math.inf}, "high must be a finite number, got inf"),
        ({"low": 0, "high": "inf"}, "high must be a finite number, got inf"),
        ({"low": math.nan, "high": 1}, "low must be a finite number, got nan"),
        ({"low": False, "high": 1}, "low must be a finite number, got False"),
        ({"low": [0], "high": 1}, "low must be a finite number, got [0]"),
        ({"low": 0, "high": 1, "step": {}}, "step must be a finite number, got {}"),
        ({"low": 0, "high": 1, "step": 0}, "step must be positive, got 0"),
        ({"low": 0.0, "high": 1.0, "step": -0.1}, "step must be positive, got -0.1"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low must be positive where log is true, got 0.0"),
        ({"low": -1, "high": 1, "log": True}, "low must be positive where log is true, got -1"),
        ({"low": 1, "high": 9, "log": True, "step": 1}, "log and step cannot be combined"),
        ({"low": 0.1, "high": 1, "log": "yes"}, "log must be true or false, got 'yes'"),
        ({"low": 0.1, "high": 1, "log": 1}, "log must be true or false, got 1"),
        ({"choices": [1, 2], "low": 0.1}, "has choices and bounds; leave one of them out"),
        ({"choices": [1, 2], "log": False}, "has choices and bounds; leave one of them out"),
        ({"choices": [1]}, "choices must be at least two, as a list or as names with values; got [1]"),
        ({"choices": {}}, "choices must be at least two"),
        ({"choices": "ab"}, "choices must be at least two"),
        ({"choices": 3}, "choices must be at least two"),
        ({"choices": [[64, 64], [128]]}, "must be plain values; write others as a mapping from names to values"),
        ({"choices": [1, None]}, "must be plain values; write others as a mapping from names to values"),
        (
            {"low": 0.1, "high": 1, "format": "auto"},
            "format must contain {} once, or be 'like learning_rate', got 'aut",
        ),
        ({"low": 0.1, "high": 1, "format": "{}-{}"}, "format must contain {} once"),
        ({"low": 0.1, "high": 1, "format": 5}, "format must contain {} once"),
    ],
    ids=str,
)
def test_properties_that_are_refused(item: dict[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^file\.yml: tau.*{re.escape(message)}"):
        parsed(tau=item)


@pytest.mark.parametrize(
    "item",
    [
        {"low": 0.1, "high": 1.0, "argument": 5},
        {"low": 0.1, "high": 1.0, "argument": True},
        {"low": 0.1, "high": 1.0, "argument": [5]},
        {"low": 0.1, "high": 1.0, "argument": ["tau", None]},
        {"low": 0.1, "high": 1.0, "when": 5},
        {"low": 0.1, "high": 1.0, "when": "alpha"},
        {"low": 0.1, "high": 1.0, "when": ["alpha"]},
        {"low": 0.1, "high": 10**400},
    ],
    ids=lambda item: str(item)[:50],
)
def test_properties_of_a_wrong_type_are_refused(item: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^file\.yml: tau: (argument|when|high) must "):
        parsed(tau=item)


@pytest.mark.parametrize("pattern", ["{}{x}", "{}{", ["{}"], {"{}": 1}], ids=str)
def test_formats_that_cannot_be_written_are_refused(pattern: Any) -> None:
    with pytest.raises(ValueError, match="format must"):
        parsed(tau={"low": 0.1, "high": 1.0, "format": pattern})


@pytest.mark.parametrize("step", [0.5, 1.5, 3])
def test_steps_that_do_not_fit_integers_are_refused(step: float) -> None:
    with pytest.raises(ValueError, match=f"step must be a whole number that divides high - low, got {step}"):
        parsed(n_steps={"low": 1, "high": 5, "step": step})


@pytest.mark.parametrize("name", ["seed", "device"])
def test_what_the_tuner_sets_itself_is_not_tuned(name: str) -> None:
    with pytest.raises(ValueError, match=f"no argument '{name}'"):
        parsed(**{name: {"choices": ["cpu", "cuda"]}})


@pytest.mark.parametrize(
    ("when", "message"),
    [
        (
            {"alhpa": "learned"},
            "tau exists when alhpa is 'learned', but no parameter 'alhpa' comes before it; did you mean",
        ),
        ({"zzz": 1}, "but no parameter 'zzz' comes before it; known: alpha, gamma"),
        ({"batch_size": 32}, "but no parameter 'batch_size' comes before it"),  # it comes after
        ({"tau": 1}, "but no parameter 'tau' comes before it"),
        ({"alpha": "fixt"}, "tau exists when alpha is 'fixt', which is none of its choices: 'learned', 'fixed'"),
        ({"alpha": None}, "which is none of its choices"),
        ({"alpha": ["learned"]}, "which is none of its choices"),
        ({"gamma": 0.5}, "which is none of its choices"),  # it has none
    ],
    ids=str,
)
def test_conditions_that_are_refused(when: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parsed(
            alpha={"choices": ["learned", "fixed"], "argument": None},
            gamma={"low": 0.1, "high": 1.0},
            tau={"low": 0.1, "high": 1.0, "when": when},
            batch_size={"choices": [32, 64]},
        )


def test_unknown_optional_parameters_are_refused_with_the_nearest() -> None:
    for asked, message in (
        ("gama", "box has no optional parameter 'gama'; did you mean 'gamma'?"),
        ("one_minus_gama", "did you mean 'one_minus_gamma'?"),
        ("tau", "box has no optional parameter 'tau'"),  # which is always tuned
        ("xyz", "known: batch_size, gamma, gradient_steps, n_steps, one_minus_gamma, train_freq"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            parse_space(load_space("box"), "box", [asked])


def test_files_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.yml"
    path.write_text("tau: {low: 1e-3, high: 1e-1, log: true}")
    assert parse_space(load_space(str(path)), str(path)).parameters[0].low == 1e-3  # a string, for YAML
    for text, message in (("tau: {low", "is not valid YAML"), ("[1, 2]", r"must map parameter names .*, got \[1, 2\]")):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_space(str(path))
    for missing in ("boxes", str(tmp_path), str(tmp_path / "other.yml")):
        with pytest.raises(ValueError, match=r"There is no space file .*: pass .* one of \('box', 'discrete'\)"):
            load_space(missing)


PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["1e-3", "{}", "a{}"]),
)
YAML_DATA = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
NAMES = st.sampled_from(["tau", "gamma", "alpha", "policy_kwargs", "n_steps"])
BOUNDS = st.one_of(st.sampled_from([0.1, 1, 2, "1e-3"]), YAML_DATA)
SHAPED = {
    "low": BOUNDS,
    "high": BOUNDS,
    "log": st.booleans() | YAML_DATA,
    "step": BOUNDS,
    "choices": YAML_DATA | st.lists(PLAIN, max_size=4),
    "argument": st.none() | st.just("policy_kwargs.x") | st.lists(NAMES, max_size=2) | st.text(max_size=3),
    "format": YAML_DATA,
    "one_minus": st.booleans() | YAML_DATA,
    "default": YAML_DATA,
    "when": st.none() | st.dictionaries(NAMES, YAML_DATA, max_size=2),
    "optional": st.booleans() | YAML_DATA,
    "other": YAML_DATA,
}
ANY = SHAPED | {"argument": YAML_DATA, "when": YAML_DATA}


def a_space_or_a_value_error(data: Any) -> None:
    try:
        space = parse_space(data, "file.yml")
    except ValueError:
        return
    assert {each.name for each in space.parameters} <= set(map(str, data))
    assert all(str(each).startswith(f"{each.name}: ") for each in space.parameters)


@settings(max_examples=300)
@given(YAML_DATA | st.dictionaries(NAMES | st.integers(0, 1), YAML_DATA | st.fixed_dictionaries({}, optional=SHAPED)))
def test_any_data_gives_a_space_or_a_value_error(data: Any) -> None:
    a_space_or_a_value_error(data)


@given(st.dictionaries(NAMES, st.fixed_dictionaries({}, optional=ANY)))
@example({"tau": {"low": 0.1, "high": 1, "when": 5}})
def test_any_argument_and_condition_gives_a_space_or_a_value_error(data: Any) -> None:
    a_space_or_a_value_error(data)
