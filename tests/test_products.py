"""Matrix products of gradient steps: their precision, and who does them."""

import pytest
import torch as th
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.testing import assert_close

from sac_ext.execution import products
from sac_ext.torch_settings import current_matmul_precision, matmul_precision
from tests.modes import assert_close_models, ready, train


class TestPrecision:
    def test_torchs_newer_setting_is_left_alone(self) -> None:
        """After it, torch refuses to say the precision by name."""
        before = th.backends.mkldnn.matmul.fp32_precision
        model = ready("eager")
        th.backends.mkldnn.matmul.fp32_precision = "bf16"
        try:
            model.train(1, 16)
            assert current_matmul_precision() is None
            model.precision = "high"
            with pytest.raises(
                ValueError, match=r"precision=.high. cannot be set.*set either precision or these settings"
            ):
                model.train(1, 16)
            assert th.backends.mkldnn.matmul.fp32_precision == "bf16"
        finally:
            th.backends.mkldnn.matmul.fp32_precision = before

    def test_holds_for_the_step_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = []
        model = ready("eager", precision="medium")
        step = type(model._update).__call__
        monkeypatch.setattr(
            type(model._update),
            "__call__",
            lambda *args: seen.append(th.get_float32_matmul_precision()) or step(*args),
        )
        model.train(2, 16)
        assert seen == ["medium", "medium"]
        assert th.get_float32_matmul_precision() == "highest"

    def test_is_put_back_after_an_error(self) -> None:
        model = ready("eager", precision="high")
        model.critic.forward = lambda *args: 1 / 0  # type: ignore[method-assign]
        with pytest.raises(ZeroDivisionError):
            model.train(1, 16)
        assert th.get_float32_matmul_precision() == "highest"

    def test_default_leaves_what_the_user_set(self, monkeypatch: pytest.MonkeyPatch) -> None:
        th.set_float32_matmul_precision("high")
        try:
            model = ready("eager")
            step = type(model._update).__call__
            seen = []
            monkeypatch.setattr(
                type(model._update),
                "__call__",
                lambda *args: seen.append(th.get_float32_matmul_precision()) or step(*args),
            )
            model.train(1, 16)
            assert seen == ["high"]
        finally:
            th.set_float32_matmul_precision("highest")

    def test_other_names_are_refused(self) -> None:
        with pytest.raises(ValueError, match="precision must be one of 'highest', 'high', 'medium', got 'low'"):
            ready("eager", precision="low")


class TestFasterProducts:
    """oneDNN's products in the place of those torch calls; forced, since few processors gain from it."""

    @pytest.fixture(autouse=True)
    def forced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(products, "onednn_is_faster", lambda: True)
        monkeypatch.setattr(products, "WORTHWHILE", 0)
        monkeypatch.setattr(products.FasterProducts, "uuid", lambda self: None)  # not from the cache

    @pytest.mark.parametrize("shape", [(16, 3, 5), (1, 1, 1), (256, 23, 256), (7, 300, 1)])
    @pytest.mark.parametrize("transposed", [False, True])
    @pytest.mark.parametrize("biased", [False, True])
    def test_the_product_is_exact(self, shape: tuple[int, int, int], transposed: bool, biased: bool) -> None:
        m, k, n = shape
        th.manual_seed(0)
        a = th.randn(k, m).t() if transposed else th.randn(m, k)
        b = th.randn(n, k).t() if transposed else th.randn(k, n)
        bias = th.randn(n) if biased else None
        expected = a.double() @ b.double() + (0 if bias is None else bias.double())
        assert_close(products.onednn_mm(a, b, bias).double(), expected, rtol=1e-5, atol=1e-4)

    @staticmethod
    def layers(x: th.Tensor, weight: th.Tensor, bias: th.Tensor) -> tuple[th.Tensor, ...]:
        hidden = th.addmm(bias, x, weight.t()).relu()
        return hidden, hidden @ weight, th.addmm(hidden, x, weight), th.addmm(bias, x, weight.t(), alpha=2)

    @pytest.mark.parametrize("dtype", [th.float32, th.float64])
    def test_a_graph_stays_right(self, dtype: th.dtype) -> None:
        arguments = th.randn(8, 5, dtype=dtype), th.randn(5, 5, dtype=dtype), th.randn(5, dtype=dtype)
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            graph = make_fx(self.layers)(*map(mode.from_tensor, arguments))
        products.FasterProducts()(graph.graph)
        graph.recompile()
        targets = [node.target for node in graph.graph.nodes]
        assert targets.count(th.ops.sac_ext.mm.default) == (2 if dtype == th.float32 else 0)
        assert_close(graph(*arguments), self.layers(*arguments))

    @pytest.mark.slow
    def test_training_is_eagers(self) -> None:
        eager, other = ready("eager"), ready("compile")
        graphs = []
        replace = products.FasterProducts.__call__
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                products.FasterProducts, "__call__", lambda self, graph: (replace(self, graph), graphs.append(graph))
            )
            train(other)
        targets = [node.target for graph in graphs for node in graph.nodes]
        assert targets.count(th.ops.sac_ext.mm.default) > 20
        assert th.ops.aten.mm.default not in targets
        assert_close_models(train(eager), other)

    def test_not_in_reduced_precision(self) -> None:
        assert products.FasterProducts.applies()
        with matmul_precision("medium"):
            assert not products.FasterProducts.applies()


def test_the_probe_refuses_a_wrong_product(monkeypatch: pytest.MonkeyPatch) -> None:
    products.onednn_is_faster.cache_clear()
    monkeypatch.setattr(products, "onednn_mm", lambda a, b, bias: a @ b + 0.1)
    monkeypatch.setattr(products, "CLEARLY_FASTER", 0.0)
    assert not products.onednn_is_faster()
    products.onednn_is_faster.cache_clear()


def test_the_probe_takes_a_right_and_faster_one(monkeypatch: pytest.MonkeyPatch) -> None:
    products.onednn_is_faster.cache_clear()
    monkeypatch.setattr(products, "CLEARLY_FASTER", 0.0)
    assert products.onednn_is_faster()
    products.onednn_is_faster.cache_clear()
