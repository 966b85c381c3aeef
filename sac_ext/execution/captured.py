"""The whole gradient step as a CUDA graph: captured once, replayed without the host."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch as th

from sac_ext.execution.compiled import Compiled
from sac_ext.execution.graphable import summary
from sac_ext.torch_settings import current_matmul_precision
from sac_ext.update import Measured, SoftUpdate

WARM_UP = 3
"""Steps of each kind that run before one is captured: they compile, and let libraries allocate what they keep."""

Replay = Callable[[], None]
Capture = Callable[[Callable[[], Measured]], tuple[Measured, Replay]]


class Graph(NamedTuple):
    """
    A captured step. All that it reads and writes stays where it was during the capture.

    :param batch: tensors that a replay reads its transitions from
    :param measured: tensors that a replay writes
    :param replay: runs the step
    """

    batch: list[th.Tensor]
    measured: Measured
    replay: Replay


def cuda_capture(step: Callable[[], Measured]) -> tuple[Measured, Replay]:
    """
    :param step: work on the current CUDA device that never waits for the device
    :return: tensors for what the step measures, not filled yet, and a function that runs the step and fills them
    """
    graph = th.cuda.CUDAGraph()
    stream = th.cuda.Stream()  # type: ignore[no-untyped-call]
    # The outer context restores the stream even if the capture fails; the mode lets other threads use the device
    with (
        th.cuda.stream(th.cuda.current_stream()),
        th.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"),
    ):
        measured = step()
    return measured, graph.replay


class Captured(Compiled):
    """
    The compiled step, or the eager one where it cannot be compiled, captured as a CUDA graph. Between two replays the
    host copies the next batch into place and copies what was measured. Both copies are queued on the device, so the
    host never waits.

    A step is captured again for another batch size or precision, and when numbers that are part of it (``tau``,
    ``gamma`` and the like) or the tensors it works on have been replaced; attributes of the policy's modules other than
    parameters and buffers are taken to be constant. Learning rates and the entropy target may change freely.

    :param update: the gradient step
    :param capture: how steps are captured
    :param device_type: type of device that the model must be on; tests capture on the CPU, with stand-ins
    """

    name = "cuda_graph"

    def __init__(self, update: SoftUpdate, capture: Capture = cuda_capture, device_type: str = "cuda") -> None:
        super().__init__(update)
        self._capture = capture
        self._device_type = device_type
        self._compiles = True
        self._graphs: dict[Any, Graph] = {}
        self._steps_before: dict[Any, int] = {}
        self._made_for: Any = None

    def refresh(self) -> None:
        super().refresh()
        device = self.update.target_entropy.device
        if device.type != self._device_type:
            self._in_the_way = f"it needs a model on {self._device_type}, but this one is on {device}"
        if self.update.use_sde:
            self._in_the_way = "gSDE keeps tensors between steps, and replaying a graph would not replace them"
        if self._in_the_way is not None:
            return
        made_for = self._what_a_graph_holds()
        if made_for != self._made_for:
            self._graphs.clear()
            self._steps_before.clear()
            self._made_for = made_for

    def _what_a_graph_holds(self) -> Any:
        update = self.update
        states = [state for optimizer in update.all_optimizers() for state in optimizer.state.values()]
        tensors = [tensor for state in states for tensor in state.values()]
        tensors += [*update.policy.parameters(), *update.policy.buffers(), update.target_entropy]
        tensors += [learning_rate for _, learning_rate in self._groups_with_rates]
        tensors += [tensor for tensor in (update.log_ent_coef, update.ent_coef_tensor) if tensor is not None]
        groups = [group for optimizer in update.all_optimizers() for group in optimizer.param_groups]
        settings = [{name: value for name, value in group.items() if name not in ("params", "lr")} for group in groups]
        members = [[id(parameter) for parameter in group["params"]] for group in groups]
        modes = [module.training for module in update.policy.modules()]
        places = [(tensor.data_ptr(), tensor.requires_grad) for tensor in tensors]
        return update.constants(), repr(settings), members, modes, places

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_graphs": {}, "_steps_before": {}}

    def _run(self, batch: Any, update_actor: bool, update_target: bool) -> Measured:
        if self._device_type == "cuda":
            with th.cuda.device(self.update.target_entropy.device):
                return self._replay(batch, update_actor, update_target)
        return self._replay(batch, update_actor, update_target)

    def _replay(self, batch: Any, update_actor: bool, update_target: bool) -> Measured:
        tensors = _tensors_of(batch)
        precision = current_matmul_precision()
        kind = (update_actor, update_target, precision, *(_shape(tensor) for tensor in tensors))
        if kind not in self._graphs:
            done = self._steps_before.get(kind, 0)
            if done < WARM_UP:
                self._steps_before[kind] = done + 1
                return self._beside_the_current_stream(batch, update_actor, update_target)
            self._graphs[kind] = self._make_graph(batch, update_actor, update_target)
        graph = self._graphs[kind]
        th._foreach_copy_(graph.batch, tensors)
        graph.replay()
        metrics, td_errors = graph.measured
        names, values = list(metrics), th.stack(list(metrics.values()))  # copies, which the next replay leaves alone
        return Measured(
            dict(zip(names, values.unbind(), strict=True)), None if td_errors is None else td_errors.clone()
        )

    def _make_graph(self, batch: Any, update_actor: bool, update_target: bool) -> Graph:
        place = _copy(batch)
        measured, replay = self._capture(lambda: self._body(place, update_actor, update_target))
        return Graph(_tensors_of(place), measured, replay)

    def _beside_the_current_stream(self, batch: Any, update_actor: bool, update_target: bool) -> Measured:
        """Run a step on another stream, as torch requires before a capture."""
        if self._device_type != "cuda":
            return self._body(batch, update_actor, update_target)
        stream = th.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(th.cuda.current_stream())
        with th.cuda.stream(stream):
            measured = self._body(batch, update_actor, update_target)
        th.cuda.current_stream().wait_stream(stream)
        return measured

    def _body(self, batch: Any, update_actor: bool, update_target: bool) -> Measured:
        if self._compiles:
            try:
                return super()._run(batch, update_actor, update_target)
            except Exception as error:  # of any kind: a step that is wrong itself fails again below
                self._compiles = False
                warnings.warn(
                    f"execution={self.name!r} captures eager gradient steps, because they cannot be compiled: "
                    f"{summary(error)}",
                    stacklevel=2,
                )
        return self.update(batch, update_actor, update_target)


def _tensors_of(batch: Any) -> list[th.Tensor]:
    """:return: tensors of a named tuple whose parts are tensors, dicts of tensors or None"""
    parts = [part.values() if isinstance(part, dict) else [part] for part in batch]
    return [tensor for part in parts for tensor in part if tensor is not None]


def _copy(batch: Any) -> Any:
    """:return: a copy of the batch and its tensors"""

    def own(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: own(value) for key, value in part.items()}
        return None if part is None else part.clone()

    return type(batch)(*map(own, batch))


def _shape(tensor: th.Tensor) -> tuple[th.Size, th.dtype]:
    return tensor.shape, tensor.dtype
