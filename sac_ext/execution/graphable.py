"""A gradient step in a form that one graph can hold, with a fallback to eager where that is impossible."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch as th

from sac_ext import optimizers
from sac_ext.execution.eager import Eager
from sac_ext.update import Measured, SoftUpdate


class Graphable(Eager, ABC):
    """
    What modes with a graph have in common: Adam as a function, learning rates as tensors that a graph reads anew at
    each step, and a fallback to eager.

    :param update: the gradient step
    """

    name: str
    same_bits = False

    def __init__(self, update: SoftUpdate) -> None:
        super().__init__(update)
        self._groups_with_rates: list[tuple[dict[str, Any], th.Tensor]] = []  # for each group of parameters
        self._rate_tensors: list[th.Tensor] = []  # by position: load_state_dict() creates new groups
        self._in_the_way: str | None = None
        self._failed = False
        self._warned: set[str] = set()

    def refresh(self) -> None:
        optimizers_now = self.update.all_optimizers()
        self._in_the_way = next(filter(None, map(optimizers.why_not_by_adam, optimizers_now)), None)
        if self._in_the_way is not None:
            return
        for optimizer in optimizers_now:
            optimizers.prepare(optimizer)
        groups = [group for optimizer in optimizers_now for group in optimizer.param_groups]
        while len(self._rate_tensors) < len(groups):
            self._rate_tensors.append(th.zeros((), device=self.update.target_entropy.device))
        self._groups_with_rates = list(zip(groups, self._rate_tensors, strict=False))
        for group, learning_rate in self._groups_with_rates:
            learning_rate.fill_(group["lr"])

    def __call__(self, batch: Any, update_actor: bool, update_target: bool) -> Measured:
        if self._in_the_way is not None:
            self._warn(self._in_the_way)
        elif not self._failed:
            try:
                with self._in_graph_form():
                    return self._run(batch, update_actor, update_target)
            except Exception as error:  # of any kind: a step that is wrong itself fails again below, eagerly
                self._failed = True
                self._warn(summary(error))
        return self.update(batch, update_actor, update_target)

    @abstractmethod
    def _run(self, batch: Any, update_actor: bool, update_target: bool) -> Measured:
        """Run the step in its graph; after any exception it runs eagerly."""

    @contextmanager
    def _in_graph_form(self) -> Iterator[None]:
        kept = [group["lr"] for group, _ in self._groups_with_rates]
        for group, learning_rate in self._groups_with_rates:
            group["lr"] = learning_rate
        self.update.step_down = optimizers.by_adam
        try:
            yield
        finally:
            self.update.step_down = optimizers.by_own_step
            for (group, _), learning_rate in zip(self._groups_with_rates, kept, strict=True):
                group["lr"] = learning_rate

    def _warn(self, why: str) -> None:
        if why not in self._warned:
            self._warned.add(why)
            warnings.warn(
                f"execution={self.name!r} is not possible here, so gradient steps run eagerly: {why}. "
                "Set execution='eager' to silence this warning",
                stacklevel=4,
            )


def summary(error: Exception) -> str:
    """:return: type and first lines of an error whose message may have hundreds"""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join([f"{type(error).__name__}:", *lines[:2]]).rstrip(".")
