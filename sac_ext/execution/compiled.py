"""The whole gradient step as one graph, compiled by ``torch.compile``."""

import importlib
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch as th
from stable_baselines3.common import preprocessing

from sac_ext.execution.graphable import Graphable
from sac_ext.execution.products import FasterProducts
from sac_ext.torch_settings import same_validation
from sac_ext.update import Measured, SoftUpdate

BACKEND = "inductor"
RECOMPILE_LIMIT = 16


class Compiled(Graphable):
    """
    The losses, their gradients, Adam and the target networks in one graph: compiling the losses alone gains nothing,
    since most of the overhead is between them. The first step takes seconds; fewer in a later process, as torch keeps
    compiled code on disk. Another batch size, or another value of ``tau``, ``gamma`` and the like, causes a
    recompilation. Discrete and MultiDiscrete observations cannot be compiled: SB3's code for them is not traceable.

    :param update: the gradient step
    """

    name = "compile"

    def __init__(self, update: SoftUpdate) -> None:
        super().__init__(update)
        self._step = self._compile() if self.supported() else None

    @staticmethod
    def supported() -> bool:
        """:return: whether this torch can trace gradients inside of a graph (2.11 and later)"""
        return hasattr(th._dynamo.config, "trace_autograd_ops")

    @staticmethod
    @same_validation()
    def _compile() -> Any:
        th.compiler.assume_constant_result(preprocessing.is_image_space)  # type: ignore[no-untyped-call]
        options: dict[str, Any] | None = None
        if BACKEND == "inductor":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own files use features that torch warns about
                importlib.import_module("torch._inductor.compile_fx")
            options = {
                "fallback_random": True,  # the random numbers of eager mode
                "cpp.vec_isa_ok": True,  # torch knows the processor: no test programs at each start
                "post_grad_custom_post_pass": FasterProducts(),
            }
        return th.compile(_copy_of_code(_step), fullgraph=True, dynamic=False, backend=BACKEND, options=options)

    def __getstate__(self) -> dict[str, Any]:
        """Compiled code is not copied: a copy compiles its own."""
        return self.__dict__ | {"_step": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._step = self._compile() if self.supported() else None

    def _run(self, batch: Any, update_actor: bool, update_target: bool) -> Measured:
        if self._step is None:
            raise RuntimeError(f"torch {th.__version__} cannot trace gradients in a graph; torch 2.11 or later can")
        try:
            with th._dynamo.config.patch(trace_autograd_ops=True, recompile_limit=RECOMPILE_LIMIT):
                measured: Measured = self._step(self.update, batch, update_actor, update_target)
        except th._dynamo.exc.FailOnRecompileLimitHit:
            raise RuntimeError(
                "batch size, tau, gamma, or numbers that the policy's modules keep have changed more than "
                f"{RECOMPILE_LIMIT} times, and each recompilation takes seconds"
            ) from None
        return measured


def _step(update: SoftUpdate, batch: Any, update_actor: bool, update_target: bool) -> Measured:
    return update(batch, update_actor, update_target)


def _copy_of_code(function: Any) -> Callable[..., Any]:
    """torch keeps compiled code, and limits how much, per code object: each model gets its own code object."""
    return types.FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
