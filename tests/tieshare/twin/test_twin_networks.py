"""The twin of every network of the zoo, against ONNX Runtime on the same file."""

from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from tieshare.graph import find_head, with_tensors
from tieshare.twin import Twin, from_onnx

Make = Callable[[str], ModelProto]
Floats = NDArray[np.float32]
TOLERANCE = 1e-4


def run_onnx(model: ModelProto, x: Floats) -> Floats:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    feeds = {session.get_inputs()[0].name: x}
    return np.asarray(session.run([find_head(model).output], feeds)[0])


def run_twin(twin: Twin, x: Floats) -> Floats:
    with torch.no_grad():
        result = twin(torch.from_numpy(x))
    assert isinstance(result, torch.Tensor)
    return result.numpy()


def batches(model: ModelProto) -> list[Floats]:
    """Random inputs at batch 1 and 7, or at the batch that the graph states."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    sizes = [dims[0].dim_value] if dims[0].dim_value else [1, 7]
    rng = np.random.default_rng(0)
    sample = [dim.dim_value for dim in dims][1:]
    return [rng.normal(size=(size, *sample)).astype(np.float32) for size in sizes]


def test_it_computes_what_onnx_runtime_computes(network: ModelProto) -> None:
    twin = from_onnx(network, [find_head(network).output])
    for x in batches(network):
        expected = run_onnx(network, x)
        assert run_twin(twin, x).shape == expected.shape
        np.testing.assert_allclose(run_twin(twin, x), expected, atol=TOLERANCE)


def test_every_float_weight_gets_a_gradient_and_goes_back_changed(network: ModelProto) -> None:
    twin = from_onnx(network, [find_head(network).output]).train()
    x = batches(network)[-1]
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.01)
    result = twin(torch.from_numpy(x))
    assert isinstance(result, torch.Tensor)
    torch.autograd.backward((result * torch.randn_like(result)).sum())
    for name in twin.names:
        gradient = twin.parameter(name).grad
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name
    optimizer.step()
    twin.eval()
    changed = with_tensors(network, twin.tensors())
    assert [v.type for v in changed.graph.input] == [v.type for v in network.graph.input]
    assert [n.name for n in changed.graph.node] == [n.name for n in network.graph.node]
    for batch in batches(changed):
        expected = run_onnx(changed, batch)
        np.testing.assert_allclose(run_twin(twin, batch), expected, atol=TOLERANCE)
    assert np.abs(run_onnx(changed, x) - run_onnx(network, x)).max() > 0


def test_untouched_tensors_go_back_bit_for_bit(network: ModelProto) -> None:
    same = with_tensors(network, from_onnx(network, [find_head(network).output]).tensors())
    for x in batches(network):
        np.testing.assert_array_equal(run_onnx(same, x), run_onnx(network, x))


def test_the_value_before_the_activation_can_be_asked_for(zoo: Make) -> None:
    model = zoo("keras-cnn")
    head = find_head(model)
    twin = from_onnx(model, [head.logits, head.output])
    logits, probabilities = twin(torch.from_numpy(batches(model)[1]))
    torch.testing.assert_close(torch.softmax(logits, 1), probabilities)
