"""Every execution mode does what eager does."""

import copy
from typing import Any

import cloudpickle
import psutil
import pytest
import torch as th
from stable_baselines3.common.logger import configure
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.testing import assert_close

from sac_ext import SoftAC
from sac_ext.execution.captured import WARM_UP
from tests.catalogue import ACTIONS, DISCRETE, OBSERVATIONS, SMALL, RandomEnv
from tests.compare import assert_equal
from tests.modes import assert_close_models, captured_on_the_cpu, ready, train

needs_cuda = pytest.mark.skipif(not th.cuda.is_available(), reason="needs a CUDA device")
TRACEABLE = [name for name in OBSERVATIONS if name != "discrete"]

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
