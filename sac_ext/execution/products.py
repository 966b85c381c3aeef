"""
Matrix products on the CPU through oneDNN where it is faster than the library that torch calls for single precision.

On x86 that library is MKL, which does not use the widest instructions of processors not made by Intel; there oneDNN
reaches up to twice its rate, in the same precision, though not bit for bit the same. torch reaches oneDNN in single
precision only through an operator of its own, so its presence, its result and its speed are checked before it is used.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

import torch as th
from torch._inductor.custom_graph_pass import CustomGraphPass, get_hash_for_files

from sac_ext.torch_settings import current_matmul_precision

CLEARLY_FASTER = 1.25
"""Nothing is replaced below this ratio of the rates, so that noise in the measurement seldom decides."""

WORTHWHILE = 4_000_000
"""Number of floating-point operations below which the call itself costs more than a higher rate saves."""

LIBRARY = th.library.Library("sac_ext", "FRAGMENT")  # type: ignore[no-untyped-call]
LIBRARY.define("mm(Tensor a, Tensor b, Tensor? bias) -> Tensor")  # type: ignore[no-untyped-call]


@th.library.impl(LIBRARY, "mm", "CPU")
def onednn_mm(a: th.Tensor, b: th.Tensor, bias: th.Tensor | None) -> th.Tensor:
    """
    :param a: ``(M, K)`` float32, of any strides
    :param b: ``(K, N)`` float32, of any strides
    :param bias: ``(N,)`` or None
    :return: ``(M, N)``
    """
    product: th.Tensor = th.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")
    return product


@th.library.register_fake("sac_ext::mm", lib=LIBRARY)  # type: ignore[untyped-decorator]
def _fake_mm(a: th.Tensor, b: th.Tensor, bias: th.Tensor | None) -> th.Tensor:
    return a.new_empty(a.shape[0], b.shape[1])


@functools.cache
def onednn_is_faster() -> bool:
    """:return: whether oneDNN is available, correct, and clearly faster with torch's current threads; measured once"""
    if not th.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    generator = th.Generator().manual_seed(0)
    a, b = (th.randn(256, 256, generator=generator) for _ in range(2))
    try:
        error = (onednn_mm(a, b, None) - a.double() @ b.double()).norm() / a.norm()
    except (AttributeError, RuntimeError):  # no such operator in this torch
        return False
    return bool(error < 1e-4) and _seconds(lambda: a @ b) > CLEARLY_FASTER * _seconds(lambda: onednn_mm(a, b, None))


def _seconds(function: Callable[[], Any]) -> float:
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        function()
        best = min(best, time.perf_counter() - start)
    return best


class FasterProducts(CustomGraphPass):
    """Replaces the large products of a compiled graph by oneDNN's, in full single precision only."""

    @staticmethod
    def applies() -> bool:
        """:return: whether anything is replaced at present"""
        return current_matmul_precision() == "highest" and onednn_is_faster()

    def __call__(self, graph: th.fx.Graph) -> None:
        """
        :param graph: after autograd, of torch's operators
        """
        if not self.applies():
            return
        for node in graph.nodes:
            bias: Any = None
            if node.target is th.ops.aten.mm.default:
                a, b = node.args
            elif node.target is th.ops.aten.addmm.default and not node.kwargs:
                bias, a, b = node.args
            else:
                continue
            if is_worthwhile(a.meta["val"], b.meta["val"], None if bias is None else bias.meta["val"]):
                node.target = th.ops.sac_ext.mm.default
                node.args = (a, b, bias)
        graph.lint()

    def uuid(self) -> Any:
        """:return: what makes one compiled graph differ from another"""
        return get_hash_for_files((__file__,)), self.applies()


def is_worthwhile(a: th.Tensor, b: th.Tensor, bias: th.Tensor | None) -> bool:
    """
    :param a: ``(M, K)``
    :param b: ``(K, N)``
    :param bias: ``(N,)`` or None
    :return: whether oneDNN can compute the product, and the product is large enough to gain from it
    """
    (m, k), n = a.shape, b.shape[1]
    if a.device.type != "cpu" or a.dtype != th.float32 or b.dtype != th.float32:
        return False
    if bias is not None and bias.shape != (n,):
        return False
    return 2 * m * k * n >= WORTHWHILE
