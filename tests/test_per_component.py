"""A coefficient for each component of an action."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from torch.testing import assert_close

from sac_ext import SoftAC, losses
from sac_ext.entropy import EntropyContext, EntropyTarget, EpsilonTarget, parse_entropy_target, spec_of
from tests.catalogue import SMALL, MaskedEnv, RandomEnv
from tests.compare import assert_same_models
from tests.modes import assert_close_models, captured_on_the_cpu, ready, train
from tests.oracles import Spaces, add, soft_ac, train_in_phases

ONE = np.ones(1, dtype=np.float32)
CONSTANT = spaces.Box(0, 1, (1,), np.float32)
LOCAL = {"policy_kwargs": SMALL | {"critic": "local"}}
OPTIONS: dict[str, Any] = {"per_component": True, **LOCAL}


def make(actions: str = "multidiscrete", **kwargs: Any) -> SoftAC:
    return SoftAC("MlpPolicy", RandomEnv(actions=actions), **{"seed": 0, "learning_starts": 20, **OPTIONS} | kwargs)


@pytest.mark.parametrize("critic", ["local", "additive"])
@pytest.mark.parametrize("env_class", [RandomEnv, MaskedEnv])
def test_each_component_has_its_own(critic: str, env_class: Any) -> None:
    model = SoftAC(
        "MlpPolicy",
        env_class(actions="multidiscrete"),
        seed=0,
        learning_starts=20,
        per_component=True,
        policy_kwargs=SMALL | {"critic": critic},
    ).learn(60)
    logged = model.logger.name_to_value
    assert model.log_ent_coef.shape == (2,)
    for name in ("ent_coef", "entropy", "target_entropy"):
        parts = [logged[f"train/{name}_{index}"] for index in range(2)]
        total = np.mean(parts) if name == "ent_coef" else np.sum(parts)
        assert logged[f"train/{name}"] == pytest.approx(total, rel=1e-5)
    if env_class is RandomEnv:
        assert logged["train/target_entropy_0"] == pytest.approx(0.1 * math.log(3))
        assert logged["train/target_entropy_1"] == pytest.approx(0.1 * math.log(2))


def test_the_value_weighs_each_entropy_with_its_coefficient() -> None:
    entropies = th.tensor([[1.0, 2.0], [0.5, 0.0]])
    value = losses.soft_value(th.tensor([1.0, -1.0]), entropies, th.tensor([0.1, 0.3]))
    assert_close(value, th.tensor([1.7, -0.95]))


def test_the_loss_is_the_sum_of_each_ones() -> None:
    log_ent_coef, entropy = th.randn(2), th.rand(5, 2)
    targets = th.tensor([0.2, 0.7])
    expected = sum(losses.ent_coef_loss(log_ent_coef[k : k + 1], entropy[:, k], targets[k]) for k in range(2))
    assert_close(losses.ent_coef_loss(log_ent_coef, entropy, targets), expected)
    free = th.tensor([[1, 0]] * 2 + [[0, 0]] + [[1, 1]] * 2, dtype=th.bool)
    expected = sum(losses.ent_coef_loss(log_ent_coef[k : k + 1], entropy[free[:, k], k], targets[k]) for k in range(2))
    assert_close(losses.ent_coef_loss(log_ent_coef, entropy, targets, free), expected)


def trained_on_two_stakes(second_stake: float, target_entropy: Any) -> tuple[np.ndarray, np.ndarray]:
    """:return: entropy and coefficient of two components, of which the first one decides over 1"""
    model = soft_ac(
        Spaces(CONSTANT, spaces.MultiDiscrete([2, 2])),
        gamma=0.0,
        per_component=True,
        target_entropy=target_entropy,
        policy_kwargs={"net_arch": {"pi": [], "qf": [16]}, "critic": "additive"},
    )
    for first in range(2):
        for second in range(2):
            add(model, ONE, [first, second], 1.0 * first + second_stake * second, ONE, done=True)
    train_in_phases(model, {0.03: 600, 0.003: 300})
    with th.no_grad():
        return model.head.pi(model.actor, th.ones(1, 1)).entropies[0].numpy(), model.log_ent_coef.exp().numpy()


def test_components_of_different_stakes_get_different_coefficients() -> None:
    """The first component decides over ten times as much; each reaches its target, in proportion to its stakes."""
    entropies, coefficients = trained_on_two_stakes(0.1, "fraction:0.5")
    np.testing.assert_allclose(entropies, 0.5 * math.log(2), atol=0.03)
    assert coefficients[0] / coefficients[1] == pytest.approx(10, rel=0.1)


# ---------------------------------------------------------------- a target for each


@pytest.mark.parametrize("env_class", [RandomEnv, MaskedEnv])
def test_a_list_has_a_target_for_each(env_class: Any) -> None:
    model = SoftAC(
        "MlpPolicy",
        env_class(actions="multidiscrete"),
        seed=0,
        learning_starts=20,
        target_entropy=["fraction:0.5", 0.2],
        **OPTIONS,
    ).learn(60)
    assert model.temperature.targets == pytest.approx([0.5 * math.log(3), 0.2])
    logged = model.logger.name_to_value
    parts = [logged[f"train/target_entropy_{index}"] for index in range(2)]
    assert logged["train/target_entropy"] == pytest.approx(sum(parts))
    if env_class is RandomEnv:
        assert parts == pytest.approx([0.5 * math.log(3), 0.2])
    else:
        masks = model.replay_buffer.sample(500).action_masks
        valid = masks.split([3, 2], dim=1)
        shares = [
            component.sum(dim=1).log().mean().item() / math.log(n) for component, n in zip(valid, (3, 2), strict=True)
        ]
        assert parts == pytest.approx([0.5 * math.log(3) * shares[0], 0.2 * shares[1]], abs=0.1)


def test_components_reach_targets_of_their_own() -> None:
    entropies, _ = trained_on_two_stakes(0.5, ["fraction:0.8", "fraction:0.3"])
    np.testing.assert_allclose(entropies, [0.8 * math.log(2), 0.3 * math.log(2)], atol=0.03)


def test_epsilon_is_that_of_each_component() -> None:
    model = make(target_entropy="epsilon:0.2").learn(30)
    alone = [EpsilonTarget(0.2).value(part) for part in model._entropy_context().components()]
    assert model.temperature.targets == pytest.approx(alone)
    assert alone[0] / alone[1] != pytest.approx(math.log(3) / math.log(2), rel=0.05)  # not a share of the sum


def test_each_target_is_told_of_its_component_and_remembers_it(tmp_path: Path) -> None:
    annealed = {"kind": "annealed", "start": 0.9, "end": 0.1, "patience": 1, "tolerance": 9, "max_std": 9}
    spec = [annealed, "linear:0.6->0.2"]
    model = make(target_entropy=spec).learn(40)
    first, second = model.temperature.target.targets
    assert first.level < 0.9
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=model.get_env())
    assert loaded.temperature.target.targets[0].level == first.level
    assert loaded.temperature.target.targets[1] == second
    assert spec_of(loaded.temperature.target) == [spec_of(first), spec_of(second)]
    assert parse_entropy_target(spec_of(second), 0.1) == second


def test_a_target_is_told_where_masks_leave_one_component_no_choice() -> None:
    class SecondIsForced(RandomEnv):
        def action_masks(self) -> np.ndarray:
            return np.array([True, True, True, True, False])

    annealed = {"kind": "annealed", "start": 0.9, "end": 0.1, "patience": 1, "tolerance": 9, "max_std": 9}
    options: dict[str, Any] = {"seed": 0, "learning_starts": 20, **OPTIONS}
    model = SoftAC("MlpPolicy", SecondIsForced(actions="multidiscrete"), target_entropy=annealed, **options).learn(60)
    assert model.temperature.target.level < 0.2
    model = SoftAC("MlpPolicy", SecondIsForced(actions="multidiscrete"), target_entropy=[annealed] * 2, **options)
    first, second = model.learn(60).temperature.target.targets
    assert first.level < 0.2
    assert second.level == 0.9  # nothing is known of it


def test_targets_in_a_list_are_the_users_own_where_they_would_be_alone() -> None:
    class Counts(EntropyTarget):
        observed = 0

        def value(self, context: EntropyContext) -> float:
            return 0.3 * context.max_entropy

        def observe(self, mean_entropy: float) -> None:
            self.observed += 1

        def check(self, context: EntropyContext, per_component: bool = False) -> None:
            if context.max_entropy < 0.7:
                raise ValueError("too small for this one")

    target = Counts()
    make(target_entropy=[target, 0.2]).learn(50)
    assert target.observed == 30
    with pytest.raises(ValueError, match="too small for this one"):
        make(target_entropy=[0.2, target])


def test_components_that_a_target_does_not_count() -> None:
    class Short(EntropyTarget):
        def value(self, context: EntropyContext) -> float:
            return 0.1

        def of_components(self, context: EntropyContext) -> list[float]:
            return [0.1]

        def __repr__(self) -> str:
            return "Short()"

    with pytest.raises(
        ValueError, match=r"target_entropy Short\(\) must return one value for each of 2 components, got 1"
    ):
        make(target_entropy=Short()).learn(30)


def test_coefficients_are_kept_where_their_number_changes(tmp_path: Path) -> None:
    env = RandomEnv(actions="multidiscrete")
    model = make(ent_coef_learning_rate=0.05).learn(60)
    model.save(tmp_path / "several")
    one = SoftAC.load(tmp_path / "several", env=env, per_component=False)
    assert_close(one.log_ent_coef, model.log_ent_coef.mean().reshape(1))
    one.save(tmp_path / "one")
    several = SoftAC.load(tmp_path / "one", env=env, per_component=True)
    assert_close(several.log_ent_coef, one.log_ent_coef.expand(2))


def test_a_files_lists_do_not_go_with_one_coefficient(tmp_path: Path) -> None:
    make(target_entropy=[0.2, 0.2], ent_coef_bounds=[(0.01, 1), (0.01, 1)]).save(tmp_path / "model")
    with pytest.raises(ValueError, match="also pass target_entropy and ent_coef_bounds for a single coefficient"):
        SoftAC.load(tmp_path / "model", per_component=False)
    changes = {"per_component": False, "target_entropy": "auto", "ent_coef_bounds": None}
    assert SoftAC.load(tmp_path / "model", **changes).log_ent_coef.shape == (1,)


def test_a_component_without_a_choice_aims_at_nothing() -> None:
    model = soft_ac(
        Spaces(CONSTANT, spaces.MultiDiscrete([3, 1])),
        gamma=0.0,
        per_component=True,
        target_entropy="fraction:0.5",
        policy_kwargs=SMALL | {"critic": "local"},
    )
    for first in range(3):
        add(model, ONE, [first, 0], 0.1 * first, ONE, done=True)
    train_in_phases(model, {0.003: 20})
    assert model.temperature.targets == pytest.approx([0.5 * math.log(3), 0.0])
    assert all(th.isfinite(parameter).all() for parameter in model.policy.parameters())
    assert model.log_ent_coef[1].exp().item() == pytest.approx(0.1)  # where it started


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"target_entropy": [0.1]}, "1 target\\(s\\) for 2 components"),
        ({"target_entropy": [0.1] * 3}, "3 target\\(s\\) for 2 components"),
        ({"target_entropy": [0.1, 0.1], "per_component": False}, "there is one coefficient for the whole action"),
        (
            {"target_entropy": ["fraction:0.5", 0.7]},
            "0.7 nats cannot be reached: policies on component 1 of the action",
        ),
        ({"target_entropy": ["fraction:0.5", "linear:0.2->1.2"]}, "cannot be reached"),
        ({"target_entropy": ["fraction:0.5", "sigma:0.1"]}, "the entropy of a Gaussian"),
    ],
)
def test_lists_that_do_not_fit(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        make(**options)


def test_lists_of_lists() -> None:
    with pytest.raises(TypeError, match="must be a single EntropyTarget"):
        make(target_entropy=[["fraction:0.5"], 0.2])


def test_bounds_for_each_and_for_all() -> None:
    model = make(ent_coef_bounds=[(0.01, 0.05), (1e-4, 10)])
    assert_close(model.log_ent_coef.detach().exp(), th.tensor([0.05, 0.1]))
    model = make(ent_coef_bounds=[(0.09, 0.11), (1e-4, 10)], ent_coef_learning_rate=0.05)
    with pytest.warns(UserWarning, match=r"ent_coef of component 0 is held at its bound 0\.09"):
        model.learn(60)
    first, second = model.log_ent_coef.detach().exp().tolist()
    assert first == pytest.approx(0.09)
    assert second < 0.05
    model = make(ent_coef_bounds=(0.09, 0.11), ent_coef_learning_rate=0.05)
    with pytest.warns(UserWarning, match=r"ent_coef of component [01] is held at its bound 0\.09"):
        model.learn(60)
    assert_close(model.log_ent_coef.detach().exp(), th.full((2,), 0.09))


@pytest.mark.parametrize(
    ("actions", "options", "match"),
    [
        ("box", {"policy_kwargs": SMALL}, "a coefficient for each component of the policy, so it needs MultiDiscrete"),
        (
            "discrete",
            {"policy_kwargs": SMALL},
            "a coefficient for each component of the policy, so it needs MultiDiscrete",
        ),
        ("multidiscrete", {"policy_kwargs": SMALL | {"critic": "joint"}}, "policy_kwargs={'critic': 'local'}"),
        ("multidiscrete", {"ent_coef": 0.1}, "needs learned coefficients"),
        ("multidiscrete", {"ent_coef_bounds": [(0.1, 1)]}, "1 pairs for 2 coefficient"),
        ("multidiscrete", {"ent_coef_bounds": [(0.1, 1), 0.3]}, "must be a pair"),
        (
            "multidiscrete",
            {"n_steps": 3, "replay_buffer_kwargs": {"soft_n_steps": True}, "entropy_in_critic": 1.0},
            "leave one of these arguments out",
        ),
    ],
)
def test_what_one_coefficient_for_each_component_does_not_go_with(
    actions: str, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        make(actions, **options)


def test_coefficients_survive_saving_and_become_one(tmp_path: Any) -> None:
    model = make().learn(60)
    model.save(tmp_path / "model")
    loaded = SoftAC.load(tmp_path / "model", env=RandomEnv(actions="multidiscrete"))
    assert_same_models(model, loaded)
    loaded.learn(40)
    one = SoftAC.load(tmp_path / "model", env=RandomEnv(actions="multidiscrete"), per_component=False)
    assert one.log_ent_coef.shape == (1,)
    one.learn(40)


@pytest.mark.filterwarnings("ignore:ent_coef")
@pytest.mark.parametrize("env_class", [RandomEnv, MaskedEnv])
def test_captured_steps_equal_eager_ones(env_class: Any, not_compiled: None) -> None:
    options = OPTIONS | {
        "env_class": env_class,
        "ent_coef_bounds": [(0.01, 0.2), (1e-4, 10)],
        "target_entropy": ["linear:0.6->0.2", 0.2],
    }
    eager = ready("eager", "multidiscrete", **options)
    other = captured_on_the_cpu(ready("eager", "multidiscrete", **options))
    assert_close_models(train(eager), train(other))
    assert other.captures == 1


def test_steps_as_one_graph_equal_eager_ones(traced: None) -> None:
    models = [ready(mode, "multidiscrete", env_class=MaskedEnv, **OPTIONS) for mode in ("eager", "compile")]
    assert_close_models(*map(train, models))
