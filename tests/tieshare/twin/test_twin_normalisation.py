"""Normalisation in the twin against ONNX Runtime; batch norm and dropout while training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from tieshare.twin import from_onnx

Make = Callable[[str], ModelProto]
Check = Callable[..., None]

# The opset, the node from x (2, 6, 4, 3) to y, and the weights that it names.
SIX, PLANE = "float[6] g, float[6] b", "float[4, 3] g, float[4, 3] b"
CASES = [
    (7, "y = BatchNormalization (x, g, b, m, var)", f"{SIX}, float[6] m, float[6] var"),
    (9, "y = BatchNormalization (x, g, b, m, var)", f"{SIX}, float[6] m, float[6] var"),
    (15, "y = BatchNormalization <epsilon = 0.1> (x, g, b, m, var)",
     f"{SIX}, float[6] m, float[6] var"),
    (7, "y = InstanceNormalization (x, g, b)", SIX),
    (22, "y = InstanceNormalization <epsilon = 0.1> (x, g, b)", SIX),
    (21, "y = GroupNormalization <num_groups = 3> (x, g, b)", SIX),
    (21, "y = GroupNormalization <num_groups = 6, epsilon = 0.1> (x, g, b)", SIX),
    (17, "y = LayerNormalization (x, g, b)", "float[3] g, float[3] b"),
    (17, "y = LayerNormalization (x, g)", "float[3] g"),
    (17, "y = LayerNormalization <axis = 2, epsilon = 0.1> (x, g, b)", PLANE),
    (17, "y = LayerNormalization <axis = -2> (x, g, b)", "float[3] g, float[4, 1] b"),
    (17, "y, m, d = LayerNormalization <axis = -2> (x, g, b)", PLANE),
    (23, "y = RMSNormalization (x, g)", "float[3] g"),
    (23, "y = RMSNormalization <axis = 2, epsilon = 0.1> (x, g)", "float[4, 3] g"),
    (23, "y = RMSNormalization <axis = 2> (x, g)", "float[3] g"),
    (7, "y = LpNormalization (x)", ""),
    (7, "y = LpNormalization <axis = 1, p = 1> (x)", ""),
    (7, "y = LRN <size = 3> (x)", ""),
    (13, "y = LRN <size = 5, alpha = 0.5, beta = 0.6, bias = 1.5> (x)", ""),
    (9, "y = MeanVarianceNormalization (x)", ""),
    (13, "y = MeanVarianceNormalization <axes = [1, 3]> (x)", ""),
    (7, "y = Dropout <ratio = 0.3> (x)", ""),
    (10, "y = Dropout (x)", ""),
    (13, "y = Dropout (x, ratio)", "float ratio = {0.3}"),
    (13, "y, mask = Dropout (x, ratio, no)", "float ratio = {0.3}, bool no = {0}"),
]  # fmt: skip


def _x(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("opset", "nodes", "weights"), CASES)
def test_normalisation_computes_what_onnx_runtime_computes(
    agree: Check, opset: int, nodes: str, weights: str
) -> None:
    outputs = "float[] y"
    if "y, m, d" in nodes:
        outputs += ", float[] m, float[] d"
    if "mask" in nodes:
        outputs += ", bool[] mask"
    agree(opset, nodes, {"x": _x(2, 6, 4, 3).numpy()}, weights, outputs)


@pytest.mark.parametrize(
    "nodes",
    [
        "y = LayerNormalization <axis = 1> (x, g)",
        "y = RMSNormalization (x, g)",
        "y = LpNormalization <p = 1> (x)",
        "y = LRN <size = 2, alpha = 0.5> (x)",
        "y = MeanVarianceNormalization <axes = [2]> (x)",
        "y, m, v = BatchNormalization <training_mode = 1> (x, g, g, g, g)",
    ],
)
def test_normalisation_has_the_right_gradient(differentiate: Check, nodes: str) -> None:
    rng = np.random.default_rng(0)
    inputs: dict[str, NDArray[Any]] = {"x": rng.normal(size=(2, 3, 3)), "g": rng.uniform(1, 2, 3)}
    differentiate(23, nodes, inputs, "double[] y")


def test_the_statistics_of_layer_norm_have_a_gradient(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        norm (float[2, 3] x) => (float[2, 3] y, float[2, 1] m, float[2, 1] d) <float[3] g> {
            y, m, d = LayerNormalization <epsilon = 0.0> (x, g)
        }""")
    x = _x(2, 3).requires_grad_()
    _, mean, inverse = from_onnx(model)(x)
    (of_mean,) = torch.autograd.grad(mean.sum(), x, retain_graph=True)
    (of_inverse,) = torch.autograd.grad(inverse.sum(), x)
    torch.testing.assert_close(of_mean, torch.full((2, 3), 1 / 3))
    away = (x - mean).detach()
    torch.testing.assert_close(of_inverse, -(inverse.detach() ** 3) * away / 3)


def test_a_window_of_even_size_reaches_further_ahead(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        lrn (float[1, 6, 1] x) => (float[1, 6, 1] y) {
            y = LRN <size = 4, alpha = 4.0, beta = 1.0, bias = 0.0> (x)
        }""")
    x = torch.arange(1.0, 7.0).reshape(1, 6, 1)
    sums = torch.tensor([1 + 4 + 9, 30, 54, 86, 77, 61]).reshape(1, 6, 1)
    torch.testing.assert_close(from_onnx(model)(x), x / sums)


def test_a_norm_of_zero_leaves_zeros_and_finite_gradients(from_text: Make) -> None:
    for node in ("LpNormalization", "MeanVarianceNormalization <axes = [1]>"):
        model = from_text(f"""
            <ir_version: 8, opset_import: ["" : 17]>
            flat (float[2, 3] x) => (float[2, 3] y) {{ y = {node} (x) }}""")
        x = torch.zeros(2, 3, requires_grad=True)
        y = from_onnx(model)(x)
        assert isinstance(y, Tensor)
        y.sum().backward()
        assert y.abs().max() == 0
        assert x.grad is not None
        assert x.grad.isfinite().all()


def test_batch_norm_trains_as_torch_does(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 15]>
        norm (float[n, 3, 5] x) => (float[n, 3, 5] y)
        <float[3] g, float[3] b, float[3] mean, float[3] var> {
            y = BatchNormalization <momentum = 0.8> (x, g, b, mean, var)
        }""")
    stored = {item.name: torch.frombuffer(bytearray(item.raw_data), dtype=torch.float32)
              for item in model.graph.initializer}  # fmt: skip
    norm = nn.BatchNorm1d(3, momentum=0.2)
    norm.load_state_dict(
        {"weight": stored["g"], "bias": stored["b"], "running_mean": stored["mean"],
         "running_var": stored["var"], "num_batches_tracked": torch.tensor(0)}
    )  # fmt: skip
    twin = from_onnx(model).train()
    torch.testing.assert_close(twin(_x(4, 3, 5)), norm(_x(4, 3, 5)))
    torch.testing.assert_close(twin.eval()(_x(2, 3, 5)), norm.eval()(_x(2, 3, 5)))
    assert twin.names == ("g", "b")


@pytest.mark.parametrize(
    ("opset", "node", "extra"),
    [
        (
            9,
            "y, m, v, batch_m, batch_v = BatchNormalization",
            ", float[3] batch_m, float[3] batch_v",
        ),
        (15, "y, m, v = BatchNormalization <training_mode = 1>", ""),
    ],
)
def test_a_node_that_says_it_is_training_gives_the_statistics_of_the_batch(
    from_text: Make, opset: int, node: str, extra: str
) -> None:
    model = from_text(f"""
        <ir_version: 8, opset_import: ["" : {opset}]>
        norm (float[n, 3, 5] x, float[3] one, float[3] zero, float[3] mean, float[3] var)
        => (float[n, 3, 5] y, float[3] m, float[3] v{extra}) {{
            {node} (x, one, zero, mean, var)
        }}""")
    x, zero, one = _x(4, 3, 5), torch.zeros(3), torch.ones(3)
    y, m, v, *batch = from_onnx(model)(x, one, zero, zero, one)
    variance, mean = torch.var_mean(x, (0, 2), correction=0)
    torch.testing.assert_close(m, 0.1 * mean)
    torch.testing.assert_close(v, 0.9 + 0.1 * variance)
    torch.testing.assert_close(y.mean((0, 2)), zero, atol=1e-6, rtol=0)
    torch.testing.assert_close(y.var((0, 2), correction=0), one, atol=1e-4, rtol=0)
    for found, expected in zip(batch, (mean, variance), strict=False):
        torch.testing.assert_close(found, expected)


def _dropout(from_text: Make, options: str = "") -> nn.Module:
    return from_onnx(
        from_text(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        drop (float[n] x, float ratio, bool training) => (float[n] y, bool[n] mask) {{
            y, mask = Dropout {options} (x, ratio, training)
        }}""")
    )


def test_dropout_keeps_a_share_of_the_values_and_their_mean(from_text: Make) -> None:
    twin, x, ratio = _dropout(from_text), torch.ones(10_000), torch.tensor(0.3)
    for always, training in ((True, False), (False, True), (True, True)):
        y, mask = twin.train(training)(x, ratio, torch.tensor(always))
        assert 0.67 < mask.float().mean() < 0.73
        torch.testing.assert_close(y, mask / 0.7)
    y, mask = twin.eval()(x, ratio, torch.tensor(False))
    assert mask.all()
    assert torch.equal(y, x)


def test_dropout_of_nothing_is_the_identity_while_training(from_text: Make) -> None:
    twin, x = _dropout(from_text, "<seed = 5>").train(), _x(7)
    y, mask = twin(x, torch.tensor(0.0), torch.tensor(True))
    assert mask.all()
    assert torch.equal(y, x)


def test_a_seed_fixes_the_mask_but_not_while_training(from_text: Make) -> None:
    twin = _dropout(from_text, "<seed = 5>")
    given = torch.ones(1000), torch.tensor(0.5), torch.tensor(True)
    drawn = np.random.RandomState(5).uniform(0, 1, 1000) >= 0.5
    assert np.array_equal(twin(*given)[1].numpy(), drawn)
    twin.train()
    assert not torch.equal(twin(*given)[1], twin(*given)[1])


def test_a_dropout_that_was_left_in_the_export_drops_again_while_training(from_text: Make) -> None:
    for opset, node in ((7, "Dropout <ratio = 0.25> (x)"), (17, "Dropout (x, ratio)")):
        model = from_text(f"""
            <ir_version: 8, opset_import: ["" : {opset}]>
            drop (float[n] x) => (float[n] y) <float ratio = {{0.25}}> {{ y = {node} }}""")
        twin, x = from_onnx(model), torch.ones(10_000)
        assert torch.equal(twin(x), x)
        y = twin.train()(x)
        assert isinstance(y, Tensor)
        assert 0.73 < (y > 0).float().mean() < 0.77
        assert y.max() == pytest.approx(4 / 3)


def test_the_mask_was_of_numbers_before_opset_10(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 3, opset_import: ["" : 7]>
        drop (float[n] x) => (float[n] y, float[n] mask) { y, mask = Dropout (x) }""")
    y, mask = from_onnx(model).train()(_x(50))
    torch.testing.assert_close(y, 2 * mask * _x(50))
    assert set(mask.tolist()) == {0.0, 1.0}
