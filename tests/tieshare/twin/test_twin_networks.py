"""The twin of every network of the zoo, against ONNX Runtime on the same file."""

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from examples.networks import ARCHITECTURES
from onnx import ModelProto, TensorProto

from tieshare.graph import find_head, with_tensors
from tieshare.twin import Twin, from_onnx

Array = np.ndarray
Inputs = dict[str, Array]
Make = Callable[[str], ModelProto]
Samples = Callable[[ModelProto, int], Inputs]
TOLERANCE = 1e-4
# Without batch norms, which exporters fold into convolutions.
UNFOLDED = (
    "encoder",
    "vit",
    "gpt",
    "lstm",
    "lstm_both",
    "gru",
    "gru_both",
    "autoencoder",
    "two_inputs",
    "two_outputs",
)
# Exporters store the GPT's table of 16 rows of 8 again for its last layer, turned.
WRITTEN_TWICE = {"gpt": 16 * 8}


def float_outputs(model: ModelProto) -> list[str]:
    """All but labels."""
    return [v.name for v in model.graph.output if v.type.tensor_type.elem_type == TensorProto.FLOAT]


def run_onnx(model: ModelProto, inputs: Inputs) -> list[Array]:
    """A file for one batch is given the samples again and again, until its batch is full."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    batch = len(next(iter(inputs.values())))
    axis = session.get_inputs()[0].shape[0]
    full = axis if isinstance(axis, int) else batch
    fed = {name: array[np.arange(full) % batch] for name, array in inputs.items()}
    return [np.asarray(result)[:batch] for result in session.run(float_outputs(model), fed)]


def run_twin(twin: Twin, inputs: Inputs) -> list[Array]:
    with torch.no_grad():
        results = twin(*[torch.from_numpy(array) for array in inputs.values()])
    return [result.numpy() for result in (results if isinstance(results, tuple) else (results,))]


def assert_same(twin: Twin, model: ModelProto, inputs: Inputs) -> None:
    for found, expected in zip(run_twin(twin, inputs), run_onnx(model, inputs), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_it_computes_what_onnx_runtime_computes_in_any_batch(
    any_network: ModelProto, samples: Samples
) -> None:
    twin = from_onnx(any_network, float_outputs(any_network))
    for batch in (1, 7):
        assert_same(twin, any_network, samples(any_network, batch))


def test_every_float_weight_gets_a_gradient_and_goes_back_changed(
    any_network: ModelProto, samples: Samples
) -> None:
    twin = from_onnx(any_network, float_outputs(any_network)).train()
    # Enough samples for every token of a vocabulary to turn up.
    inputs = samples(any_network, 16)
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.01)
    results = twin(*[torch.from_numpy(array) for array in inputs.values()])
    answers = results if isinstance(results, tuple) else (results,)
    torch.autograd.backward([(answer * torch.randn_like(answer)).sum() for answer in answers])
    for name in twin.names:
        gradient = twin.parameter(name).grad
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name
    optimizer.step()
    twin.eval()
    changed = with_tensors(any_network, twin.tensors())
    assert [v.type for v in changed.graph.input] == [v.type for v in any_network.graph.input]
    assert [n.name for n in changed.graph.node] == [n.name for n in any_network.graph.node]
    for batch in (1, 7):
        assert_same(twin, changed, samples(changed, batch))
    inputs = samples(any_network, 7)
    for before, after in zip(run_onnx(any_network, inputs), run_onnx(changed, inputs), strict=True):
        assert np.abs(after - before).max() > 0


@pytest.mark.parametrize("exporter", ["dynamo", "script"])
@pytest.mark.parametrize("name", UNFOLDED)
def test_as_many_numbers_are_trained_as_the_torch_module_has(
    zoo: Make, name: str, exporter: str
) -> None:
    """No constant of a formula among them, no weight left out, none twice."""
    made = ARCHITECTURES[name]
    model = zoo(f"{name}-{exporter}-free")
    twin = from_onnx(model, float_outputs(model))
    weights = made.make(made.narrowest).parameters()
    expected = sum(weight.numel() for weight in weights) + WRITTEN_TWICE.get(name, 0)
    assert sum(twin.parameter(weight).numel() for weight in twin.names) == expected


@pytest.mark.parametrize("export", ["dynamo-free", "script-free", "script-fixed", "dynamo-opset23"])
def test_a_trained_network_still_looks_at_no_later_token(zoo: Make, export: str) -> None:
    twin = from_onnx(zoo(f"gpt-{export}"))
    tokens = torch.arange(12).repeat(2, 1)
    tokens[1, -1] = 15
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(twin(tokens)[:, 0], tokens[:, 1]))
        optimizer.step()
    one, other = twin(tokens)
    torch.testing.assert_close(one[:-1], other[:-1])
    assert (one[-1] - other[-1]).abs().max() > 1e-3


def test_untouched_tensors_go_back_bit_for_bit(any_network: ModelProto, samples: Samples) -> None:
    twin = from_onnx(any_network, float_outputs(any_network))
    same = with_tensors(any_network, twin.tensors())
    inputs = samples(any_network, 7)
    for before, after in zip(run_onnx(any_network, inputs), run_onnx(same, inputs), strict=True):
        np.testing.assert_array_equal(after, before)


def test_the_value_before_the_activation_can_be_asked_for(zoo: Make, samples: Samples) -> None:
    model = zoo("keras-cnn")
    head = find_head(model)
    twin = from_onnx(model, [head.logits, head.output])
    logits, probabilities = twin(torch.from_numpy(samples(model, 7)["x"]))
    torch.testing.assert_close(torch.softmax(logits, 1), probabilities)
