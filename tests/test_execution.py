"""Every execution mode does what eager does."""

import copy
from collections.abc import Callable
from typing import Any

import cloudpickle
import psutil
import pytest
import torch as th
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import set_random_seed
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.testing import assert_close

from sac_ext import SoftAC
from sac_ext.execution import compiled
from sac_ext.execution.captured import WARM_UP
from tests.catalogue import ACTIONS, DISCRETE, OBSERVATIONS, SMALL, RandomEnv
from tests.compare import assert_equal
from tests.modes import assert_close_models, captured_on_the_cpu, ready, train

needs_cuda = pytest.mark.skipif(not th.cuda.is_available(), reason="needs a CUDA device")
TRACEABLE = [name for name in OBSERVATIONS if name != "discrete"]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same graph, run operation by operation: seconds instead of many."""
    monkeypatch.setattr(compiled, "BACKEND", "aot_eager")


@pytest.fixture
def not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.Compiled, "_run", lambda self, batch, actor, target: self.update(batch, actor, target))


SWITCHES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "delayed": {"policy_delay": 2, "target_update_interval": 3},
    "clipped": {"max_grad_norm": 0.1, "ent_coef_bounds": (0.5, 1.01)},
    "fixed coefficient": {"ent_coef": 0.2, "critic_reduction": "mean", "entropy_in_critic": 0.5},
    "scheduled": {"learning_rate": "lin_3e-3", "target_entropy": lambda progress: -progress, "ent_coef": "auto_0.5"},
    "amsgrad": {"policy_kwargs": SMALL | {"optimizer_class": th.optim.AdamW, "optimizer_kwargs": {"amsgrad": True}}},
    "prioritized": {"replay_buffer_kwargs": {"prioritized": True}},
    "n-step": {"n_steps": 3, "entropy_in_critic": 0.7, "replay_buffer_kwargs": {"soft_n_steps": True}},
    "three critics": {"policy_kwargs": SMALL | {"n_critics": 3}},
    "stabilised": {"q_clip": 0.1},
}
ON_DISCRETE = {
    "scheduled": {"target_entropy": lambda progress: 0.1 + 0.5 * progress},
    "clipped": {"max_grad_norm": 0.1},
    "stabilised": {"q_clip": 0.1, "entropy_penalty": 0.5},
}

CRITICS: dict[str, dict[str, Any]] = {
    "additive": {"policy_kwargs": SMALL | {"critic": "additive"}},
    "local": {"policy_kwargs": SMALL | {"critic": "local"}},
    "local, of one component": {"policy_kwargs": SMALL | {"critic": "local", "local_components": 1}},
    "local, each with a coefficient": {"policy_kwargs": SMALL | {"critic": "local"}, "per_component": True},
}


def options_of(switches: str, actions: str) -> dict[str, Any]:
    return SWITCHES[switches] | (ON_DISCRETE.get(switches, {}) if actions in DISCRETE else {})


@pytest.mark.filterwarnings("ignore:ent_coef is held")
class TestEveryModeGivesEagersParameters:
    @pytest.mark.parametrize("actions", ACTIONS)
    @pytest.mark.parametrize("switches", SWITCHES)
    def test_captured_steps(self, not_compiled: None, actions: str, switches: str) -> None:
        options = options_of(switches, actions)
        eager, other = ready("eager", actions, **options), captured_on_the_cpu(ready("eager", actions, **options))
        assert_close_models(train(eager), train(other))
        assert other.captures >= 1
        assert_close(eager.logger.name_to_value, other.logger.name_to_value, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("critic", CRITICS)
    def test_captured_critics(self, not_compiled: None, critic: str) -> None:
        options = CRITICS[critic]
        eager = ready("eager", "multidiscrete", **options)
        other = captured_on_the_cpu(ready("eager", "multidiscrete", **options))
        assert_close_models(train(eager), train(other))
        assert other.captures >= 1

    @pytest.mark.parametrize("critic", ["additive", "local, of one component"])  # compiled are all, in a slow test
    def test_critics_as_one_graph(self, traced: None, critic: str) -> None:
        options = CRITICS[critic]
        eager, other = ready("eager", "multidiscrete", **options), ready("compile", "multidiscrete", **options)
        assert_close_models(train(eager), train(other))

    @pytest.mark.slow
    @pytest.mark.parametrize("critic", CRITICS)
    def test_compiled_critics(self, critic: str) -> None:
        options = CRITICS[critic]
        eager, other = ready("eager", "multidiscrete", **options), ready("compile", "multidiscrete", **options)
        assert_close_models(train(eager), train(other))

    @pytest.mark.parametrize(
        ("switches", "actions"),
        [
            ("clipped", "box"),
            ("scheduled", "discrete"),
            ("prioritized", "discrete"),
            pytest.param("amsgrad", "box", marks=pytest.mark.slow),
        ],
    )
    def test_as_one_graph(self, traced: None, switches: str, actions: str) -> None:
        options = options_of(switches, actions)
        eager, other = ready("eager", actions, **options), ready("compile", actions, **options)
        assert_close_models(train(eager), train(other))
        assert_close(eager.logger.name_to_value, other.logger.name_to_value, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("use_expln", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_gsde_as_one_graph(self, traced: None, use_expln: bool) -> None:
        options = {"use_sde": True, "policy_kwargs": SMALL | {"use_expln": use_expln}}
        eager, other = ready("eager", **options), ready("compile", **options)
        assert_close_models(train(eager), train(other))
        assert_close(other.actor.action_dist.exploration_mat, eager.actor.action_dist.exploration_mat)

    @pytest.mark.slow
    def test_compiled_gsde(self) -> None:
        assert_close_models(train(ready("eager", use_sde=True)), train(ready("compile", use_sde=True)))

    @pytest.mark.parametrize("observations", ["image", "dict"])
    def test_observations_as_one_graph(self, traced: None, observations: str) -> None:
        eager, other = ready("eager", "discrete", observations), ready("compile", "discrete", observations)
        assert_close_models(train(eager, 10), train(other, 10))

    @pytest.mark.parametrize("actions", ["box", "discrete"])
    def test_compiled(self, actions: str) -> None:
        eager, other = ready("eager", actions), ready("compile", actions)
        assert_close_models(train(eager), train(other))

    @pytest.mark.slow
    @pytest.mark.parametrize("actions", ACTIONS)
    @pytest.mark.parametrize("switches", SWITCHES)
    def test_compiled_with_all_switches(self, actions: str, switches: str) -> None:
        options = options_of(switches, actions)
        assert_close_models(train(ready("eager", actions, **options)), train(ready("compile", actions, **options)))

    @pytest.mark.slow
    @pytest.mark.parametrize("actions", ["box", "discrete"])
    @pytest.mark.parametrize("observations", TRACEABLE)
    def test_compiled_with_all_observations(self, actions: str, observations: str) -> None:
        eager, other = ready("eager", actions, observations), ready("compile", actions, observations)
        assert_close_models(train(eager, 20), train(other, 20))

    @pytest.mark.gpu
    @needs_cuda
    @pytest.mark.parametrize("actions", ACTIONS)
    @pytest.mark.parametrize("switches", SWITCHES)
    @pytest.mark.parametrize("execution", ["compile", "cuda_graph"])
    def test_on_cuda(self, actions: str, switches: str, execution: str) -> None:
        options = options_of(switches, actions) | {"device": "cuda"}
        eager, other = ready("eager", actions, **options), ready(execution, actions, **options)
        assert_close_models(train(eager), train(other))


class TestWhatCannotBeCompiledRunsEagerlyWithOneWarning:
    @staticmethod
    def falls_back(match: str, change: Callable[[SoftAC], None] = lambda model: None, **options: Any) -> None:
        """... and gives eager's parameters to the bit."""
        eager, other = ready("eager", **options), ready("compile", **options)
        for model in (eager, other):
            change(model)
        with pytest.warns(UserWarning, match=match) as warned:
            train(other, 10)
        assert len(warned) == 1
        assert str(warned[0].message).count("\n") == 0
        assert_equal(train(eager, 10).get_parameters(), other.get_parameters())

    def test_other_optimizers(self, traced: None) -> None:
        kwargs = SMALL | {"optimizer_class": th.optim.RMSprop}
        self.falls_back("run eagerly: the optimizer RMSprop is neither Adam nor AdamW.*'eager'", policy_kwargs=kwargs)

    def test_subclasses_of_adam(self, traced: None) -> None:
        class Own(th.optim.Adam):
            pass

        self.falls_back("the optimizer Own is neither", policy_kwargs=SMALL | {"optimizer_class": Own})

    def test_hooks_on_the_optimizer(self, traced: None) -> None:
        def add_hook(model: SoftAC) -> None:
            model.critic.optimizer.register_step_post_hook(lambda *args: None)

        self.falls_back("the optimizer Adam has hooks", add_hook)

    def test_hooks_on_all_optimizers(self, traced: None) -> None:
        calls: list[int] = []
        handle = register_optimizer_step_post_hook(lambda *args: calls.append(1))
        try:
            self.falls_back("has hooks on its step")
        finally:
            handle.remove()
        assert len(calls) == 2 * 10 * 3  # both models, actor, critics and coefficient

    def test_another_step_on_the_optimizer(self, traced: None) -> None:
        def replace(model: SoftAC) -> None:
            model.critic.optimizer.step = lambda: None

        self.falls_back(r"has a step\(\) that replaces its class's", replace)

    @pytest.mark.parametrize("register", ["register_hook", "register_post_accumulate_grad_hook"])
    def test_hooks_on_gradients(self, traced: None, register: str) -> None:
        def add_hook(model: SoftAC) -> None:
            getattr(next(model.critic.parameters()), register)(lambda tensor: None)

        self.falls_back("parameters have hooks on their gradients", add_hook)

    def test_cuda_graphs_of_gsde(self) -> None:
        model = captured_on_the_cpu(ready("eager", use_sde=True))
        with pytest.warns(UserWarning, match="gSDE keeps tensors between steps"):
            train(model, 10)

    def test_differentiable_optimizers_are_named(self) -> None:
        model = ready("compile")
        model.critic.optimizer.param_groups[0]["differentiable"] = True
        model._run_step.refresh()
        assert "differentiable" in model._run_step._in_the_way

    def test_discrete_observations(self, traced: None) -> None:
        self.falls_back("Unsupported: .*non-Tensor", observations="discrete")

    def test_policies_with_python_of_their_own(self, traced: None) -> None:
        def ask_for_a_number(model: SoftAC) -> None:
            forward = model.critic.forward
            model.critic.forward = lambda *args: tuple(q * (1 if q.mean().item() > -1e9 else 0) for q in forward(*args))

        self.falls_back("eagerly: ", ask_for_a_number)

    def test_no_compiler(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(graph: Any, inputs: Any) -> Any:
            raise RuntimeError("no C++ compiler")

        monkeypatch.setattr(compiled, "BACKEND", broken)
        self.falls_back("no C\\+\\+ compiler")

    def test_a_torch_that_cannot_trace_gradients(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compiled.Compiled, "supported", staticmethod(lambda: False))
        self.falls_back("cannot trace gradients in a graph; torch 2.11 or later can")

    def test_cuda_graphs_without_cuda(self) -> None:
        eager, other = ready("eager"), ready("cuda_graph")
        with pytest.warns(
            UserWarning, match="'cuda_graph' is not possible.* needs a model on cuda, but this one is on cpu"
        ):
            train(other, 10)
        assert_equal(train(eager, 10).get_parameters(), other.get_parameters())

    def test_cuda_graphs_that_cannot_be_compiled_are_captured_as_they_are(self, traced: None) -> None:
        observations = {"observations": "discrete"}
        eager, other = ready("eager", **observations), captured_on_the_cpu(ready("eager", **observations))
        with pytest.warns(
            UserWarning, match="captures eager gradient steps, because they cannot be compiled: Unsupported"
        ) as warned:
            train(other, 20)
        assert len(warned) == 1
        assert other.captures == 1
        assert_close_models(train(eager, 20), other)

    def test_numbers_that_change_all_the_time(self, traced: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(compiled, "RECOMPILE_LIMIT", 1)
        model = train(ready("compile"), 5)
        model.critic_reduction = "mean"
        with pytest.warns(UserWarning, match="changed more than 1 times"):
            train(model, 5)

    def test_errors_of_the_step_itself_are_raised(self, traced: None) -> None:
        model = ready("compile")
        model.critic.forward = lambda *args: 1 / 0  # type: ignore[method-assign]
        with pytest.warns(UserWarning, match="eagerly"), pytest.raises(ZeroDivisionError):
            model.train(1, 16)


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


def test_what_was_measured_outlives_the_next_replay(not_compiled: None) -> None:
    model = captured_on_the_cpu(ready("eager", replay_buffer_kwargs={"prioritized": True}))
    measured = []
    model._refresh_update()
    for _ in range(WARM_UP + 3):
        measured.append(model._run_step(model.replay_buffer.sample(16), True, True))
    kept = copy.deepcopy([(result.metrics, result.td_errors) for result in measured[-3:]])
    model._run_step(model.replay_buffer.sample(16), True, True)
    assert_equal(kept, [(result.metrics, result.td_errors) for result in measured[-3:]])
    assert len({result.metrics["critic_loss"].item() for result in measured}) == len(measured)


def test_a_compiled_run_goes_on_in_eager_and_back(traced: None, tmp_path: Any) -> None:
    """The file is the same, whichever mode wrote it."""
    whole = train(train(ready("eager"), 10), 10)
    for first, second in (("eager", "compile"), ("compile", "eager")):
        model = train(ready(first), 10)
        model.save(tmp_path / "model")
        model.save_replay_buffer(tmp_path / "buffer")
        loaded = SoftAC.load(tmp_path / "model", env=RandomEnv(), execution=second)
        loaded.load_replay_buffer(tmp_path / "buffer")
        loaded.set_logger(configure(None, []))
        assert all(isinstance(group["lr"], float) for group in loaded.critic.optimizer.param_groups)
        assert_close_models(whole, train(loaded, 10))


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("actions", ["box", "discrete"])
def test_replays_never_wait_for_the_device(actions: str) -> None:
    model = train(ready("cuda_graph", actions, device="cuda"), 20)
    batches = [model.replay_buffer.sample(16) for _ in range(10)]
    th.cuda.synchronize()
    th.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            model._run_step(batch, True, True)
    finally:
        th.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("execution", ["compile", "cuda_graph"])
def test_models_can_be_pickled_after_training(traced: None, execution: str) -> None:
    eager, model = train(ready("eager"), 20), ready("compile")
    captured = execution == "cuda_graph"
    train(captured_on_the_cpu(model) if captured else model, 20)
    if captured:
        assert model._run_step._graphs
        model._run_step._capture = None  # the stand-in, which is no part of a model
    copied = cloudpickle.loads(cloudpickle.dumps(model))
    copied.set_logger(configure(None, []))
    if captured:
        assert copied._run_step._graphs == {}
        captured_on_the_cpu(copied)
    assert_close_models(train(eager, 20), train(copied, 20))


@pytest.mark.parametrize("share", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_batch_normalisation_as_one_graph(traced: None, share: bool) -> None:
    class Normalised(BaseFeaturesExtractor):
        def __init__(self, space: Any) -> None:
            super().__init__(space, features_dim=3)
            self.norm = nn.BatchNorm1d(3)

        def forward(self, observations: th.Tensor) -> th.Tensor:
            return self.norm(observations)

    kwargs = {"net_arch": [16], "features_extractor_class": Normalised, "share_features_extractor": share}
    eager, other = ready("eager", "discrete", policy_kwargs=kwargs), ready("compile", "discrete", policy_kwargs=kwargs)
    assert_close_models(train(eager, 10), train(other, 10))
    for model in (eager, other):
        assert_close(model.batch_norm_stats_target, model.batch_norm_stats)
        assert model.batch_norm_stats[0].abs().max() > 0


def test_compiling_leaves_torchs_checks_of_distributions_on() -> None:
    before = th.distributions.Distribution._validate_args
    train(ready("compile"), 5)
    assert th.distributions.Distribution._validate_args is before is True


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["eager", "compile", "captured"])
def test_memory_does_not_grow(mode: str, request: pytest.FixtureRequest) -> None:
    if mode == "captured":
        request.getfixturevalue("not_compiled")
    model = ready("compile" if mode == "compile" else "eager")
    if mode == "captured":
        captured_on_the_cpu(model)
    process = psutil.Process()
    train(model, 2_000, at_once=50)
    before = process.memory_info().rss
    train(model, 18_000, at_once=50)
    assert process.memory_info().rss < 1.05 * before
