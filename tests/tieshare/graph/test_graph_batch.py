"""Graphs that were exported for one batch size."""

from collections.abc import Callable

import torch
from onnx import ModelProto

from tieshare.graph.batch import with_free_batch
from tieshare.twin import from_onnx

FLAT = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[7, 2, 3] x) => (float[7, 4] y)
<float[6, 4] w, int64[2] shape = {7, -1}>
{
    flat = Reshape(x, shape)
    y = MatMul(flat, w)
}
"""
FREE = FLAT.replace("float[7, 2, 3] x", "float[N, 2, 3] x").replace(
    "float[7, 4] y", "float[N, 4] y"
)


def test_a_batch_size_that_a_reshape_states_is_copied_from_its_input(
    from_text: Callable[[str], ModelProto],
) -> None:
    twin = from_onnx(from_text(FLAT))
    x = torch.arange(5 * 6, dtype=torch.float32).reshape(5, 2, 3)
    expected = x.reshape(5, 6) @ twin.parameter("w")
    output = twin(x)
    assert isinstance(output, torch.Tensor)
    assert torch.equal(output, expected)


def test_the_model_that_was_given_stays_as_it_is(from_text: Callable[[str], ModelProto]) -> None:
    model = from_text(FLAT)
    before = model.SerializeToString()
    assert with_free_batch(model).graph.node[0].input[1] != "shape"
    assert model.SerializeToString() == before


def test_a_graph_of_any_batch_is_handed_back_untouched(
    from_text: Callable[[str], ModelProto],
) -> None:
    model = from_text(FREE)
    assert with_free_batch(model) is model
