"""Graphs take in what changes between gradient steps."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from stable_baselines3.common.utils import set_random_seed

from sac_ext import SoftAC
from tests.catalogue import SMALL
from tests.modes import assert_close_models, captured_on_the_cpu, ready, train

MODES: dict[str, Callable[[SoftAC], SoftAC]] = {"traced": lambda model: model, "captured": captured_on_the_cpu}


@pytest.fixture(params=MODES)
def pair(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[SoftAC, SoftAC]:
    """An eager model, and one in a mode with a graph, after some steps."""
    if request.param == "traced":
        request.getfixturevalue("traced")
    else:
        request.getfixturevalue("not_compiled")
    eager = train(ready("eager", policy_kwargs=SMALL), 10)
    other = MODES[request.param](ready("compile" if request.param == "traced" else "eager", policy_kwargs=SMALL))
    return eager, train(other, 10)


traced_only_in_slow_tests = pytest.mark.parametrize(
    "pair", [pytest.param("traced", marks=pytest.mark.slow), "captured"], indirect=True
)


class TestAGraphTakesInWhatChanges:
    @staticmethod
    def same_after(models: tuple[SoftAC, SoftAC], change: Callable[[SoftAC], Any], steps: int = 10) -> None:
        unchanged = copy.deepcopy(dict(models[0].policy.named_parameters()))
        for model in models:
            change(model)
            train(model, steps)
        assert_close_models(*models)
        now = dict(models[0].policy.named_parameters())
        assert any(not th.equal(unchanged[name], now[name]) for name in now)

    def test_numbers_that_users_set_reach_the_graph(self, pair: tuple[SoftAC, SoftAC]) -> None:
        numbers = {
            "tau": 0.5,
            "gamma": 0.5,
            "entropy_in_critic": 0.1,
            "critic_reduction": "mean",
            "max_grad_norm": 0.01,
        }
        self.same_after(pair, lambda model: model.__dict__.update(numbers))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("tau", 0.5),
            ("gamma", 0.5),
            ("entropy_in_critic", 0.1),
            ("critic_reduction", "mean"),
            ("max_grad_norm", 0.01),
        ],
    )
    def test_each_number_needs_a_capture_of_its_own(self, not_compiled: None, name: str, value: Any) -> None:
        model = train(captured_on_the_cpu(ready("eager")), 10)
        setattr(model, name, value)
        train(model, 10)
        assert model.captures == 2

    @pytest.mark.filterwarnings("ignore:ent_coef is held")
    @traced_only_in_slow_tests
    def test_bounds_of_the_coefficient(self, pair: tuple[SoftAC, SoftAC]) -> None:
        def change(model: SoftAC) -> None:
            model._log_bounds = (0.05, 0.1)

        self.same_after(pair, change)
        assert all(0.05 <= model.log_ent_coef.item() <= 0.1 for model in pair)

    @traced_only_in_slow_tests
    def test_settings_of_an_optimizer(self, pair: tuple[SoftAC, SoftAC]) -> None:
        self.same_after(pair, lambda model: model.critic.optimizer.param_groups[0].update(eps=0.1, weight_decay=0.1))

    def test_a_coefficient_put_there_by_the_user(self, traced: None, not_compiled: None) -> None:
        eager, other = ready("eager", ent_coef=0.1), captured_on_the_cpu(ready("eager", ent_coef=0.1))
        for model in (train(eager, 10), train(other, 10)):
            model.ent_coef_tensor = th.tensor(0.9)
        assert_close_models(train(eager, 10), train(other, 10))
        assert other.captures == 2

    def test_learning_rates(self, pair: tuple[SoftAC, SoftAC]) -> None:
        def change(model: SoftAC) -> None:
            model.learning_rate = 0.05
            model._setup_lr_schedule()

        self.same_after(pair, change)
        assert all(group["lr"] == 0.05 for model in pair for group in model.critic.optimizer.param_groups)

    def test_the_entropy_target(self, pair: tuple[SoftAC, SoftAC]) -> None:
        self.same_after(pair, lambda model: setattr(model, "target_entropy", -7.0))

    @traced_only_in_slow_tests
    def test_batch_sizes(self, pair: tuple[SoftAC, SoftAC]) -> None:
        self.same_after(pair, lambda model: model.train(5, batch_size=24))

    def test_parameters_and_optimizers_from_elsewhere(self, pair: tuple[SoftAC, SoftAC]) -> None:
        source = train(ready("eager", policy_kwargs=SMALL, seed=5), 15)
        self.same_after(pair, lambda model: model.set_parameters(copy.deepcopy(source.get_parameters())))

    @traced_only_in_slow_tests
    def test_learning_rates_of_groups_that_came_anew(self, pair: tuple[SoftAC, SoftAC]) -> None:
        def change(model: SoftAC) -> None:
            model.set_parameters(model.get_parameters())
            model.learning_rate = 0.05
            model._setup_lr_schedule()

        self.same_after(pair, change)

    @traced_only_in_slow_tests
    def test_another_optimizer(self, pair: tuple[SoftAC, SoftAC]) -> None:
        def change(model: SoftAC) -> None:
            model.actor.optimizer = th.optim.AdamW(model.actor.parameters(), betas=(0.5, 0.9), weight_decay=0.1)

        self.same_after(pair, change)

    @traced_only_in_slow_tests
    def test_frozen_parameters(self, pair: tuple[SoftAC, SoftAC]) -> None:
        def freeze(model: SoftAC) -> None:
            for parameter in model.critic.qf0.parameters():
                parameter.requires_grad_(False)

        self.same_after(pair, freeze)


@pytest.mark.slow
def test_batches_may_grow_and_shrink_often(traced: None) -> None:
    """More often than torch compiles one function by default."""
    eager, other = ready("eager"), ready("compile")
    for model in (eager, other):
        set_random_seed(2)
        for batch_size in range(3, 15):
            model.train(1, batch_size)
    assert_close_models(eager, other)
