"""Models in each execution mode, and when two of them count as equal."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch as th
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import set_random_seed
from torch.testing import assert_close

from sac_ext import SoftAC
from sac_ext.execution.captured import Captured
from sac_ext.update import Measured
from tests.catalogue import OBSERVATIONS, RandomEnv, small_networks


def ready(
    execution: str,
    actions: str = "box",
    observations: str = "vector",
    device: str = "cpu",
    env_class: type[RandomEnv] = RandomEnv,
    **kwargs: Any,
) -> SoftAC:
    """A model with 60 random transitions, before its first update."""
    options: dict[str, Any] = {
        "seed": 0,
        "learning_starts": 60,
        "buffer_size": 500,
        "policy_kwargs": small_networks(observations),
        "batch_size": 16,
    }
    env = env_class(observations, actions)
    policy = OBSERVATIONS[observations][1]
    model = SoftAC(policy, env, execution=execution, device=device, **options | kwargs)
    model.learn(60)
    model.set_logger(configure(None, []))
    return model


def train(model: SoftAC, steps: int = 50, at_once: int = 5) -> SoftAC:
    set_random_seed(1)
    for _ in range(steps // at_once):
        model.train(gradient_steps=at_once, batch_size=16)
    return model


def assert_close_models(expected: SoftAC, actual: SoftAC, rtol: float = 1e-3, atol: float = 1e-5) -> None:
    """Parameters, targets, optimizer states and coefficient, within what single precision allows after some steps."""
    left, right = expected.get_parameters(), actual.get_parameters()
    assert left.keys() == right.keys()
    for name in left:
        if name == "policy":
            assert_close(dict(left[name]), dict(right[name]), rtol=rtol, atol=atol)
        else:
            assert left[name]["state"].keys() == right[name]["state"].keys()
            for key, state in left[name]["state"].items():
                assert_close(right[name]["state"][key], state, rtol=rtol, atol=atol)
    for name in expected._get_torch_save_params()[1]:
        assert_close(getattr(actual, name), getattr(expected, name), rtol=rtol, atol=atol)


def captured_on_the_cpu(model: SoftAC) -> SoftAC:
    """CUDA graphs' ways on the CPU: what is captured does not run, a replay writes where the capture pointed."""

    def capture(step: Callable[[], Measured]) -> tuple[Measured, Callable[[], None]]:
        tensors = everything_trained(model)
        before = [tensor.detach().clone() for tensor in tensors]
        random_state = th.get_rng_state()
        held = what_a_graph_would_hold(model)
        measured = step()
        with th.no_grad():
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
        th.set_rng_state(random_state)

        def replay() -> None:
            assert what_a_graph_would_hold(model) == held, "a real graph would go on with what it was captured with"
            now = step()
            for name, value in now.metrics.items():
                measured.metrics[name].copy_(value)
            if now.td_errors is not None:
                measured.td_errors.copy_(now.td_errors)

        model.captures = getattr(model, "captures", 0) + 1
        return measured, replay

    model._run_step = Captured(model._update, capture, device_type="cpu")
    return model


def what_a_graph_would_hold(model: SoftAC) -> Any:
    """Where the tensors are, which of them have gradients, and the numbers between them."""
    update = model._update
    tensors = [*everything_trained(model), update.target_entropy]
    if update.ent_coef_tensor is not None:
        tensors.append(update.ent_coef_tensor)
    groups = [group for optimizer in update.all_optimizers() for group in optimizer.param_groups]
    settings = [[str(group[name]) for name in sorted(group) if name not in ("params", "lr")] for group in groups]
    values = [getattr(update, field.name) for field in dataclasses.fields(update)]
    numbers = [value for value in values if value is None or isinstance(value, int | float | str | tuple)]
    rates = [group["lr"].data_ptr() for group in groups]
    return [(tensor.data_ptr(), tensor.requires_grad) for tensor in tensors], settings, numbers, rates


def everything_trained(model: SoftAC) -> list[th.Tensor]:
    found = [*model.policy.parameters(), *model.policy.buffers()]
    for optimizer in model._update.all_optimizers():
        found += [tensor for state in optimizer.state.values() for tensor in state.values()]
    return found if model.log_ent_coef is None else [*found, model.log_ent_coef]
