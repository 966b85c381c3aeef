"""Entries of configuration files: looked up, read as arguments of SoftAC, and written."""

import copy
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("rl_zoo3")
pytest.importorskip("optuna")
import yaml

from sac_ext import SoftAC
from sac_ext.tuning.entries import arguments_of, load_entry, our_config, write_entry
from sac_ext.tuning.space import parse_space
from tests.catalogue import RandomEnv

ENTRIES: dict[str, dict[str, Any]] = yaml.safe_load(our_config().read_text())


def test_an_environment_without_an_entry_has_the_default(tmp_path: Path) -> None:
    path = tmp_path / "conf.yml"
    path.write_text("default: {tau: 0.1}\nA-v0: {tau: 0.2}\n")
    assert load_entry(path, "A-v0") == {"tau": 0.2}
    assert load_entry(path, "B-v0") == {"tau": 0.1}
    assert load_entry(our_config(), "CartPole-v1") == ENTRIES["CartPole-v1"]
    assert load_entry(our_config(), "Nothing-v0") == ENTRIES["default"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "There is no configuration file .*; pass another --conf-file"),
        ("A: {", "is not valid YAML"),
        ("", "must map environments to their entries, got None"),
        ("[1]", r"must map environments to their entries, got \[1\]"),
        ("B-v0: {tau: 0.1}", "has neither an entry for A-v0 nor a default"),
        ("A-v0:\ndefault: {tau: 0.1}", "has neither an entry for A-v0 nor a default"),
        ("A-v0: 5", "has neither an entry for A-v0 nor a default"),
    ],
)
def test_files_without_the_entry_are_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "conf.yml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_entry(path, "A-v0")


def test_an_entry_becomes_arguments_of_the_algorithm() -> None:
    entry = {
        "n_timesteps": 1e5,
        "n_envs": 4,
        "normalize": "{'norm_obs': True}",
        "env_wrapper": "a.B",
        "vec_env_wrapper": "a.B",
        "frame_stack": 4,
        "monitor_kwargs": {},
        "env_kwargs": {},
        "callback": "a.B",
        "learning_rate": "lin_1e-3",
        "train_freq": [1, "episode"],
        "policy_kwargs": "dict(net_arch=[64, 64], activation_fn=nn.Tanh)",
        "replay_buffer_class": "stable_baselines3.common.buffers.ReplayBuffer",
        "replay_buffer_kwargs": "dict(handle_timeout_termination=not True)",
    }
    from stable_baselines3.common.buffers import ReplayBuffer
    from torch import nn

    before = copy.deepcopy(entry)
    assert arguments_of(entry) == {
        "policy": "MlpPolicy",
        "learning_rate": "lin_1e-3",
        "train_freq": (1, "episode"),
        "policy_kwargs": {"net_arch": [64, 64], "activation_fn": nn.Tanh},
        "replay_buffer_class": ReplayBuffer,
        "replay_buffer_kwargs": {"handle_timeout_termination": False},
    }
    assert entry == before
    assert arguments_of({"policy": "CnnPolicy"}) == {"policy": "CnnPolicy"}


@pytest.mark.parametrize("text", ["dict(net_arch=[64", "dict(net_arch=unknown)", "nn.Nothing", "1 / 0", ""])
def test_expressions_that_are_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=f"policy_kwargs cannot be evaluated as a Python expression: {re.escape(repr(text))}"
    ):
        arguments_of({"policy_kwargs": text})


def test_a_model_leaves_the_entry_as_it_is() -> None:
    entry = {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 100}
    SoftAC(**arguments_of(entry), env=RandomEnv())
    assert entry == {"policy_kwargs": {"net_arch": [8]}, "buffer_size": 100}


def written_and_read(entry: dict[str, Any], comment: str = "") -> dict[str, Any]:
    content = yaml.safe_load(write_entry(entry, "A-v0", comment))
    assert list(content) == ["A-v0"]
    return content["A-v0"]


@pytest.mark.parametrize(
    "entry",
    [
        {"learning_rate": "lin_1e-3", "tau": "1e-2", "ent_coef": "auto_0.1", "target_entropy": "fraction:0.5"},
        {"learning_rate": 1e-05, "gamma": 0.1 + 0.2, "batch_size": 128, "use_sde": False, "buffer_size": 10**6},
        {"policy_kwargs": {"net_arch": {"pi": [64], "qf": [128, 64]}, "n_critics": 3, "share": None}},
        {"policy_kwargs": {"optimizer_kwargs": {"weight_decay": 1e-05, "name": "it's"}}, "tau": 0.1},
        {"policy_kwargs": {}, "replay_buffer_kwargs": {"prioritized": True}},
        {"target_entropy": {"kind": "linear", "start": 0.6, "end": 0.2}},
        {"train_freq": (1, "episode"), "gradient_steps": -1},
        {"ent_coef": "yes", "target_entropy": "null", "policy": "#1: [x]"},
        {"ent_coef_bounds": [0.1, math.inf]},
    ],
    ids=str,
)
def test_entries_are_written_and_read(entry: dict[str, Any]) -> None:
    read = written_and_read(entry)
    assert list(read) == list(entry)
    assert arguments_of(read) == {"policy": "MlpPolicy"} | entry
    for key in ("policy_kwargs", "replay_buffer_kwargs"):
        if key in entry:
            assert isinstance(read[key], str)  # as the zoo has it, which evaluates it


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.str_("auto"), "auto"),
    ],
)
def test_numpys_numbers_are_written_as_pythons(value: Any, plain: Any) -> None:
    entry = {"tau": value, "list": [value], "policy_kwargs": {"x": value, "y": {"z": (value,)}}}
    read = arguments_of(written_and_read(entry))
    assert read == {
        "policy": "MlpPolicy",
        "tau": plain,
        "list": [plain],
        "policy_kwargs": {"x": plain, "y": {"z": [plain]}},
    }
    assert type(read["tau"]) is type(read["policy_kwargs"]["x"]) is type(plain)


def test_comments_stand_above_the_entry() -> None:
    assert write_entry({"tau": 0.1}, "A-v0", "First: [x\nsecond.") == "# First: [x\n# second.\nA-v0:\n  tau: 0.1\n"
    assert write_entry({"tau": 0.1}, "A-v0") == "A-v0:\n  tau: 0.1\n"


NUMBERS = st.floats(allow_nan=False) | st.integers(-(10**9), 10**9)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["tau", "ent_coef", "target_entropy"]), VALUES),
    st.text(st.characters(categories=["L", "N", "P", "Zs"])),
)
def test_any_plain_entry_is_written_and_read(entry: dict[str, Any], comment: str) -> None:
    assert written_and_read(entry, comment) == entry


def test_policy_kwargs_with_classes_are_written_and_read() -> None:
    """Which arise where a space changes one of several policy_kwargs."""
    base = arguments_of({"policy_kwargs": "dict(net_arch=[8], activation_fn=nn.Tanh)"})
    data = {"width": {"choices": {"narrow": [8], "wide": [64]}, "argument": "policy_kwargs.net_arch"}}
    space = parse_space(data, "file.yml", [])
    arguments = space.arguments({"width": "wide"}, base)
    assert arguments_of(written_and_read(arguments)) == arguments


def test_noise_of_an_entry_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="noise_type and noise_std of an entry work in `softac-zoo train` only"):
        arguments_of({"noise_type": "normal", "noise_std": 0.1})
