"""What cannot be compiled or captured runs eagerly, with one warning."""

from collections.abc import Callable
from typing import Any

import pytest
import torch as th
from torch.optim.optimizer import register_optimizer_step_post_hook

from sac_ext import SoftAC
from sac_ext.execution import compiled
from tests.catalogue import SMALL
from tests.compare import assert_equal
from tests.modes import assert_close_models, captured_on_the_cpu, ready, train


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
