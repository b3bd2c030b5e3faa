"""What the twin keeps as parameters and buffers, and what changes while training."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import Tensor

from tieshare.errors import UnsupportedModel, UnsupportedOperator
from tieshare.graph import OPERATORS
from tieshare.twin import Twin, from_onnx
from tieshare.twin.table import TABLE

Make = Callable[[str], ModelProto]


def call(twin: Twin, x: Tensor, **options: dict[str, Tensor]) -> Tensor:
    result = twin(x, **options)
    assert isinstance(result, Tensor)
    return result


def test_the_operators_that_are_accepted_are_those_that_can_be_run() -> None:
    assert TABLE.keys() == OPERATORS.keys()


def test_a_weight_that_two_nodes_use_is_one_parameter(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        twice (float[N, 3] x) => (float[N, 3] y) <float[3, 3] w> {
            h = MatMul (x, w)
            y = MatMul (h, w)
        }""")
    twin = from_onnx(model)
    assert twin.names == ("w",)
    assert len(list(twin.parameters())) == 1
    x, w = torch.randn(4, 3), twin.parameter("w").detach().clone().requires_grad_()
    torch.autograd.backward(call(twin, x).sum())
    torch.autograd.backward((x @ w @ w).sum())
    torch.testing.assert_close(twin.parameter("w").grad, w.grad)


def test_weights_can_be_replaced_for_one_call_and_gradients_reach_the_replacement(
    zoo: Make,
) -> None:
    twin = from_onnx(zoo("keras-mlp"))
    x = torch.randn(3, 4, 5)
    before = call(twin, x)
    zero = torch.zeros(8, 3, requires_grad=True)
    replaced = call(twin, x, weights={"w2": zero})
    bias = twin.parameter("b2").detach()
    torch.testing.assert_close(replaced, torch.softmax(bias, 0).expand(3, 3))
    torch.autograd.backward(replaced[:, 0].sum())
    assert zero.grad is not None
    assert twin.parameter("w2").grad is None
    torch.testing.assert_close(call(twin, x), before)


def test_only_the_part_that_the_asked_values_need_is_built(zoo: Make) -> None:
    twin = from_onnx(zoo("sklearn-classifier"), ["next_activations"])
    assert twin.names == ("coefficient", "intercepts")
    assert call(twin, torch.randn(2, 5)).shape == (2, 8)


def test_unknown_values_and_unknown_operators_are_refused_before_any_work(zoo: Make) -> None:
    with pytest.raises(UnsupportedModel, match="nowhere"):
        from_onnx(zoo("keras-mlp"), ["nowhere"])
    with pytest.raises(UnsupportedOperator, match="ArrayFeatureExtractor"):
        from_onnx(zoo("sklearn-classifier"))


def test_the_number_of_inputs_is_checked(zoo: Make) -> None:
    with pytest.raises(TypeError, match="1 inputs, 2 were given"):
        from_onnx(zoo("keras-mlp"))(torch.zeros(1, 4, 5), torch.zeros(1))


def test_batch_norm_uses_and_moves_statistics_while_training_only(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 15]>
        norm (float[N, 3] x) => (float[N, 3] y)
        <float[3] g, float[3] b, float[3] mean, float[3] var> {
            y = BatchNormalization <momentum = 0.8> (x, g, b, mean, var)
        }""")
    twin = from_onnx(model)
    x = torch.randn(50, 3)
    before = twin.tensors()
    call(twin, x)
    np.testing.assert_array_equal(twin.tensors()["mean"], before["mean"])
    y = call(twin.train(), x)
    torch.testing.assert_close(y.mean(0), twin.parameter("b"))
    expected = 0.8 * before["mean"] + 0.2 * x.mean(0).numpy()
    np.testing.assert_allclose(twin.tensors()["mean"], expected, rtol=1e-5)
    np.testing.assert_array_equal(twin.tensors()["g"], before["g"])


def test_statistics_that_are_weights_too_stay_as_they_are(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 15]>
        norm (float[N, 3] x) => (float[N, 3] y) <float[3] b, float[3] mean, float[3] var> {
            y = BatchNormalization (x, var, b, mean, var)
        }""")
    twin = from_onnx(model)
    x = torch.randn(50, 3)
    expected = call(twin, x)
    before = twin.tensors()
    torch.testing.assert_close(call(twin.train(), x), expected)
    assert {name: array.tolist() for name, array in twin.tensors().items()} == {
        name: array.tolist() for name, array in before.items()
    }


@pytest.mark.parametrize(
    ("opset", "node"), [(11, "Dropout <ratio = 0.25> (x)"), (13, "Dropout (x, r)")]
)
def test_dropout_drops_its_share_while_training_only(
    from_text: Make, opset: int, node: str
) -> None:
    model = from_text(f"""
        <ir_version: 7, opset_import: ["" : {opset}]>
        drop (float[N, 100] x) => (float[N, 100] y) <float r = {{0.25}}> {{ y = {node} }}""")
    twin = from_onnx(model)
    x = torch.ones(100, 100)
    assert call(twin, x).equal(x)
    torch.manual_seed(0)
    dropped = call(twin.train(), x)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert float(dropped.max()) == pytest.approx(4 / 3)


def test_a_copy_of_the_twin_trains_apart_from_it(zoo: Make) -> None:
    twin = from_onnx(zoo("keras-mlp"))
    before = twin.tensors()
    other = copy.deepcopy(twin)
    with torch.no_grad():
        other.parameter("w1").zero_()
    np.testing.assert_array_equal(twin.tensors()["w1"], before["w1"])
    assert not other.tensors()["w1"].any()
    other.load_state_dict(twin.state_dict())
    np.testing.assert_array_equal(other.tensors()["w1"], before["w1"])


def test_what_tensors_returns_is_a_copy(zoo: Make) -> None:
    twin = from_onnx(zoo("keras-cnn"))
    for array in twin.tensors().values():
        array[...] = 0
    assert all(array.any() for array in twin.tensors().values())
    with pytest.raises(KeyError):
        twin.parameter("mean")


@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_convolution_puts_out_lies_channels_last_in_memory(
    from_text: Make, channels: int
) -> None:
    """Its kernels are faster so, and all that follows it keeps the order."""
    twin = from_onnx(
        from_text(f"""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N, {channels}, 6, 6] x) => (float[N, 4, 4, 4] y) <float[4, {channels}, 3, 3] w> {{
            h = Conv (x, w)
            y = Relu (h)
        }}""")
    )
    y = twin(torch.zeros(2, channels, 6, 6))
    assert isinstance(y, Tensor)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert twin.tensors()["w"].flags.c_contiguous
