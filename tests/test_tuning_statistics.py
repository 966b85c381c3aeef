"""Interquartile means, intervals and verdicts; durations, places and pairs from the command line."""

import argparse
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("rl_zoo3")
pytest.importorskip("optuna")
from sac_ext.tuning.places import FOLDER, STORAGE_VARIABLE, Place, add_place_options, parse_duration, place_of
from sac_ext.tuning.statistics import compare, interquartile_mean, interval
from sac_ext.tuning.study import parse_pairs

INTEGERS = st.integers(-100, 100).map(float)  # whose means differ by more than rounding
SAMPLES = st.lists(INTEGERS, min_size=1, max_size=8)
OPPOSITE = {"better": "worse", "worse": "better", "cannot tell": "cannot tell"}

# ---------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([3.0], 3.0),
        ([1.0, 3.0], 2.0),
        ([0.0, 0.0, 9.0], 3.0),
        ([100.0, 1.0, 3.0, -50.0], 2.0),
        ([9, 1, 2, 3, -7], 2.0),  # one of five is left out at each end
        ([8, 7, 6, 5, 4, 3, 2, 1], 4.5),
        ([1000, 1, 2, 3, 4, 5, 6, 7, 8, -1000], 4.5),  # two of ten
        (np.arange(12), 5.5),
    ],
)
def test_interquartile_means_are_those_computed_by_hand(values: Any, mean: float) -> None:
    assert interquartile_mean(values) == pytest.approx(mean)
    assert type(interquartile_mean(values)) is float


def test_the_interquartile_mean_leaves_a_quarter_out_at_each_end() -> None:
    values = np.random.default_rng(0).normal(size=40)
    assert interquartile_mean(values) == pytest.approx(np.sort(values)[10:30].mean())


def test_intervals_are_those_of_resampled_means() -> None:
    """Beside a bootstrap that is written out."""
    values = np.array([3.0, 8.0, 1.0, 9.0, 4.0, 7.0, 2.0, 10.0])
    draws = np.sort(np.random.default_rng(1).choice(values, (20_000, 8)), axis=1)
    expected = np.quantile(draws[:, 2:6].mean(axis=1), [0.025, 0.975])
    assert interval(values) == pytest.approx(expected, abs=0.3)


def test_intervals_of_a_difference_resample_both() -> None:
    ours, theirs = np.array([3.0, 8.0, 1.0, 9.0]), np.array([10.0, 5.0, 6.0, 12.0, 7.0, 9.0, 8.0, 3.0])
    rng = np.random.default_rng(1)
    first = np.sort(rng.choice(ours, (20_000, 4)), axis=1)[:, 1:3].mean(axis=1)
    second = np.sort(rng.choice(theirs, (20_000, 8)), axis=1)[:, 2:6].mean(axis=1)
    expected = np.quantile(first - second, [0.025, 0.975])
    found = compare(ours, theirs)
    assert found.interval == pytest.approx(expected, abs=0.3)
    assert found.difference == pytest.approx((3 + 8) / 2 - (6 + 7 + 8 + 9) / 4)


@given(SAMPLES)
@settings(max_examples=30)
def test_intervals_lie_in_the_sample(values: list[float]) -> None:
    low, high = interval(values)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    assert interval(values) == (low, high)
    if len(set(values)) == 1:
        assert (low, high) == pytest.approx((values[0], values[0]))


@given(SAMPLES, st.integers(-50, 50), st.sampled_from([0.5, 2.0, 10.0]))
@settings(max_examples=20)
def test_intervals_move_and_stretch_with_the_sample(values: list[float], shift: int, factor: float) -> None:
    changed = interval([factor * value + shift for value in values])
    assert changed == pytest.approx([factor * end + shift for end in interval(values)], abs=1e-6)


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0], [5.0] * 10])
def test_samples_without_spread_have_intervals_without_width(values: list[float]) -> None:
    assert interval(values) == (5.0, 5.0)
    assert interquartile_mean(values) == 5.0


@pytest.mark.parametrize(
    ("ours", "theirs", "difference", "ends", "probability", "verdict"),
    [
        ([5.0] * 4, [5.0] * 4, 0.0, (0.0, 0.0), 0.5, "cannot tell"),
        ([5.0] * 4, [3.0] * 3, 2.0, (2.0, 2.0), 1.0, "better"),
        ([3.0] * 4, [5.0] * 4, -2.0, (-2.0, -2.0), 0.0, "worse"),
        ([9.0], [1.0], 8.0, (-math.inf, math.inf), 1.0, "cannot tell"),
        ([9.0], [1.0, 2.0, 3.0], 7.0, (-math.inf, math.inf), 1.0, "cannot tell"),
        ([1.0, 2.0, 3.0], [9.0], -7.0, (-math.inf, math.inf), 0.0, "cannot tell"),
    ],
)
def test_single_values_and_samples_without_spread_are_compared(
    ours: list[float], theirs: list[float], difference: float, ends: Any, probability: float, verdict: str
) -> None:
    found = compare(ours, theirs)
    assert (found.difference, found.interval) == (difference, ends)
    assert (found.probability_of_improvement, found.verdict) == (probability, verdict)


def test_rounding_is_no_difference() -> None:
    assert compare([0.1] * 3, [0.1] * 10).verdict == "cannot tell"


@pytest.mark.parametrize(
    ("ours", "theirs", "probability", "verdict"),
    [
        (range(10, 20), range(0, 10), 1.0, "better"),
        (range(0, 10), range(10, 20), 0.0, "worse"),
        (range(0, 10), range(0, 10), 0.5, "cannot tell"),
        (range(0, 10), range(9, -1, -1), 0.5, "cannot tell"),
        ([0, 10, 20, 30], [1, 11, 21, 31], 6 / 16, "cannot tell"),
        ([1, 2], [2, 3], 0.5 / 4, "cannot tell"),  # a tie counts one half
        ([10, 11, 12, 13, -1000], [1, 2, 3, 4, 5], 0.8, "cannot tell"),  # resamples have the outlier more than once
    ],
)
def test_verdicts_follow_from_the_interval(ours: Any, theirs: Any, probability: float, verdict: str) -> None:
    found = compare(list(ours), list(theirs))
    assert found.probability_of_improvement == pytest.approx(probability)
    assert found.verdict == verdict
    low, high = found.interval
    assert {"better": low > 0, "worse": high < 0, "cannot tell": low <= 0 <= high}[verdict]


@given(SAMPLES, SAMPLES)
@settings(max_examples=40)
def test_who_is_compared_with_whom_only_turns_the_sign(ours: list[float], theirs: list[float]) -> None:
    there, back = compare(ours, theirs), compare(theirs, ours)
    assert there.difference == pytest.approx(-back.difference)
    assert there.probability_of_improvement == pytest.approx(1 - back.probability_of_improvement)
    assert {there.verdict, back.verdict} != {"better"}
    assert {there.verdict, back.verdict} != {"worse"}
    if abs(there.difference) > 1e-9 and there.verdict != "cannot tell":
        assert (there.difference > 0) == (there.verdict == "better")
    if min(map(abs, there.interval)) > 20 and math.isfinite(there.interval[0]):  # of draws, which are others
        assert back.verdict == OPPOSITE[there.verdict]


def test_nineteen_of_twenty_intervals_cover_the_mean() -> None:
    rng = np.random.default_rng(0)
    covered = [low <= 0 <= high for low, high in (interval(rng.normal(size=10)) for _ in range(150))]
    assert 0.88 <= np.mean(covered) <= 1.0
    short = [low <= 0 <= high for low, high in (interval(rng.normal(0.5, 1.0, 30)) for _ in range(50))]
    assert np.mean(short) < 0.7  # and not because they are wide


def test_equal_runs_are_seldom_told_apart_and_different_ones_mostly() -> None:
    rng = np.random.default_rng(0)
    same = [compare(rng.normal(size=10), rng.normal(size=10)).verdict for _ in range(100)]
    assert same.count("cannot tell") >= 88
    better = [compare(rng.normal(3.0, 1.0, 10), rng.normal(size=10)).verdict for _ in range(20)]
    assert set(better) == {"better"}


# ---------------------------------------------------------------- durations


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0.5", 0.5),
        ("90s", 90),
        ("30m", 1800),
        ("1h", 3600),
        ("2d", 172_800),
        ("1h30m", 5400),
        ("1h30m15s", 5415),
        ("1.5h", 5400),
        ("0h1m", 60),
        ("1d0.5h", 88_200),
        ("30m1h", 5400),
        ("007", 7),
    ],
)
def test_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "h",
        "1x",
        "1h30",
        "-5",
        "-5m",
        "+5",
        "1 h",
        " 90",
        "90\n",
        "1e3",
        "inf",
        "nan",
        "1.",
        ".5h",
        "1H",
        "1,5h",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"timeout must be a duration such as .*, got {re.escape(repr(text))}"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0.0", "0s", "0h0m"])
def test_durations_are_positive(text: str) -> None:
    with pytest.raises(ValueError, match=f"timeout must be positive, got '{text}'"):
        parse_duration(text)


@given(
    st.text(max_size=8)
    | st.text("0123456789.smhd", max_size=8)
    | st.from_regex(r"(\d+(\.\d+)?[smhd]?)+", fullmatch=True)
)
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert seconds > 0


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("smhd")), min_size=1, max_size=4))
def test_durations_are_sums_of_their_parts(parts: list[tuple[int, str]]) -> None:
    seconds = sum(number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for number, unit in parts)
    text = "".join(f"{number}{unit}" for number, unit in parts)
    if seconds:
        assert parse_duration(text) == seconds
    else:
        with pytest.raises(ValueError, match="must be positive"):
            parse_duration(text)


# ---------------------------------------------------------------- places


def place(*arguments: str, env: str | None = None) -> Place:
    parser = argparse.ArgumentParser()
    add_place_options(parser)
    options = parser.parse_args(arguments)
    if env is not None:
        options.env = env
    return place_of(options)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(STORAGE_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ("CartPole-v1", "softac-CartPole-v1"),
        ("ALE/Pong-v5", "softac-ALE-Pong-v5"),
        ("my.module:My_Env-v0", "softac-my.module-My_Env-v0"),
        ("../x y", "softac-..-x-y"),
    ],
)
def test_a_study_is_called_after_its_environment(env: str, name: str) -> None:
    assert place(env=env) == Place(name, f"{FOLDER}/{name}/journal.log", Path(FOLDER) / name)


def test_what_is_said_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place("--study", "a", env="CartPole-v1").study == "a"
    assert place("--study", "a", "-f", "logs") == Place("a", "logs/a/journal.log", Path("logs/a"))
    monkeypatch.setenv(STORAGE_VARIABLE, "sqlite:///x.db")
    assert place("--study", "a") == Place("a", "sqlite:///x.db", Path(FOLDER) / "a")
    assert place("--study", "a", "--storage", "other.log", "--log-folder", "b") == Place("a", "other.log", Path("b/a"))
    monkeypatch.setenv(STORAGE_VARIABLE, "")
    assert place("--study", "a").storage == f"{FOLDER}/a/journal.log"


def test_the_only_study_there_is_need_not_be_said() -> None:
    with pytest.raises(ValueError, match=r"Choose a study with --study NAME$"):
        place()
    for name in ("b", "a"):
        (Path(FOLDER) / name).mkdir(parents=True)
    with pytest.raises(ValueError, match=r"Choose a study with --study NAME$"):  # folders of nothing
        place()
    (Path(FOLDER) / "b" / "journal.log").touch()
    assert place().study == "b"
    (Path(FOLDER) / "a" / "journal.log").touch()
    with pytest.raises(ValueError, match="Choose a study with --study NAME; existing studies: a, b"):
        place()
    assert place("--study", "c").study == "c"


@pytest.mark.parametrize("name", ["", "a/b", "/a", "..", ".hidden", "../a"])
def test_names_that_are_no_folders_are_refused(name: str) -> None:
    with pytest.raises(
        ValueError,
        match=f"study must be a non-empty name without '/' that does not start with '\\.', got {re.escape(repr(name))}",
    ):
        place("--study", name)


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize(
    ("pair", "key", "value"),
    [
        ("gravity:-9.0", "gravity", -9.0),
        ("net:[64, 64]", "net", [64, 64]),
        ("learning_starts:500", "learning_starts", 500),
        ("tau:1e-3", "tau", 1e-3),
        ("learning_rate:lin_1e-3", "learning_rate", "lin_1e-3"),
        ("target_entropy:fraction:0.5", "target_entropy", "fraction:0.5"),
        ("ent_coef:'auto'", "ent_coef", "auto"),
        ("ent_coef:auto", "ent_coef", "auto"),
        ("use_sde:True", "use_sde", True),
        ("n:None", "n", None),
        ("train_freq:(1, 'episode')", "train_freq", (1, "episode")),
        ("target_entropy:{'kind': 'sigma', 'sigma': 0.1}", "target_entropy", {"kind": "sigma", "sigma": 0.1}),
        ("policy_kwargs:dict(net_arch=[64])", "policy_kwargs", "dict(net_arch=[64])"),
        ("a:", "a", ""),
        ("a: 5", "a", 5),
        ("a:[1", "a", "[1"),
        ("a:__import__('os')", "a", "__import__('os')"),
    ],
)
def test_values_of_pairs_are_literals_or_strings(pair: str, key: str, value: Any) -> None:
    found = parse_pairs([pair])
    assert found == {key: value}
    assert type(found[key]) is type(value)


def test_the_last_of_several_pairs_wins() -> None:
    assert parse_pairs([]) == {}
    assert parse_pairs(["a:1", "b:x", "a:2"]) == {"a": 2, "b": "x"}


@pytest.mark.parametrize("pair", ["", "a", ":", ":5", "a=5"])
def test_pairs_that_are_refused(pair: str) -> None:
    with pytest.raises(ValueError, match=f"{re.escape(repr(pair))} must be key:value, such as learning_starts:500"):
        parse_pairs(["b:1", pair])


@pytest.mark.parametrize("text", ["{[1]: 2}", "{{'net_arch': [8]}}"])
def test_a_value_that_cannot_be_hashed_is_a_string(text: str) -> None:
    assert parse_pairs([f"a:{text}"]) == {"a": text}


@given(st.text(max_size=12))
@example("a:\0")
@example("a:" + "(" * 300)
@example("a:\ud800")
@example("a:'\\d'")
def test_any_text_is_a_pair_or_a_value_error(text: str) -> None:
    try:
        found = parse_pairs([text])
    except ValueError:
        return
    assert list(found) == [text.partition(":")[0]]
