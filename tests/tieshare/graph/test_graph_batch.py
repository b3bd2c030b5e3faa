"""Graphs that were exported for one batch size."""

import io
import warnings
from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import ModelProto
from torch import Tensor, nn

from tieshare.graph.batch import with_free_batch
from tieshare.twin import from_onnx

Make = Callable[[str], ModelProto]
Modules = Callable[[], nn.Module]

FLAT = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[7, 2, 3] x) => (float[7, 4] y)
<float[6, 4] w, int64[2] shape = {7, -1}>
{
    flat = Reshape(x, shape)
    y = MatMul(flat, w)
}
"""
FREE = FLAT.replace("float[7,", "float[N,")


class Recurrent(nn.Module):
    """The last step of a recurrent network."""

    def __init__(self, kind: type[nn.Module], layers: int, both: bool) -> None:
        super().__init__()
        self.cell = kind(6, 4, num_layers=layers, bidirectional=both, batch_first=True)
        self.dense = nn.Linear(8 if both else 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.dense(self.cell(x)[0][:, -1])
        return y


class Encoder(nn.Module):
    """Attention over steps; torch computes it with the steps first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


class Patches(nn.Module):
    """A class token, expanded over the batch, in front of patches with positions."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(2, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Embedding(5, 8)
        self.block = Encoder()

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        places = torch.arange(5, device=x.device).unsqueeze(0).expand(len(x), -1)
        y: Tensor = self.block(x + self.place(places))[:, 0]
        return y


NETWORKS: dict[str, tuple[Modules, tuple[int, ...]]] = {
    "encoder": (Encoder, (5, 8)),
    "lstm": (lambda: Recurrent(nn.LSTM, 1, both=False), (5, 6)),
    "lstm of two layers, both ways": (lambda: Recurrent(nn.LSTM, 2, both=True), (5, 6)),
    "gru": (lambda: Recurrent(nn.GRU, 1, both=False), (5, 6)),
    "rnn, both ways": (lambda: Recurrent(nn.RNN, 1, both=True), (5, 6)),
    "vit": (Patches, (2, 8, 8)),
}


def _exported(module: nn.Module, x: Tensor, dynamo: bool) -> ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            program = torch.onnx.export(module, (x,), dynamo=True, verbose=False)
            assert program is not None
            return program.model_proto
        file = io.BytesIO()
        torch.onnx.export(module, (x,), file, dynamo=False)  # type: ignore[arg-type]
    return onnx.load_model_from_string(file.getvalue())


@pytest.mark.parametrize(
    ("name", "exported"),
    [*((name, 7) for name in NETWORKS), ("encoder", 1), ("lstm", 1), ("vit", 1)],
)
@pytest.mark.parametrize("dynamo", [pytest.param(True, marks=pytest.mark.slow), False])
def test_what_torch_exports_for_one_batch_size_runs_in_any(
    name: str, dynamo: bool, exported: int
) -> None:
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    module = make().eval()
    twin = from_onnx(_exported(module, torch.randn(exported, *shape), dynamo))
    for batch in (1, 3, 7):
        x = torch.randn(batch, *shape)
        torch.testing.assert_close(twin(x), module(x), rtol=1e-4, atol=1e-5)


def test_a_batch_size_that_a_reshape_states_is_that_of_its_input(from_text: Make) -> None:
    twin = from_onnx(from_text(FLAT))
    x = torch.arange(5 * 6, dtype=torch.float32).reshape(5, 2, 3)
    expected = x.reshape(5, 6) @ twin.parameter("w")
    output = twin(x)
    assert isinstance(output, Tensor)
    assert torch.equal(output, expected)


def test_the_model_that_was_given_stays_as_it_is(from_text: Make) -> None:
    model = from_text(FLAT)
    before = model.SerializeToString()
    assert with_free_batch(model) is not model
    assert model.SerializeToString() == before


def test_a_graph_of_any_batch_is_handed_back_untouched(from_text: Make) -> None:
    model = from_text(FREE)
    assert with_free_batch(model) is model


# The nodes from x (7, 4, 6), the constants, and what y is for a batch of any size.
PATTERNS: dict[str, tuple[str, str, Callable[[Tensor], Tensor]]] = {
    "joined, the batch outside": (
        "y = Reshape (x, t)",
        "int64[2] t = {28, 6}",
        lambda x: x.reshape(-1, 6),
    ),
    "joined, the batch inside": (
        "s = Transpose <perm = [1, 0, 2]> (x) r = Reshape (s, t) y = Reshape (r, back)",
        "int64[2] t = {28, 6}, int64[4] back = {4, 7, 2, 3}",
        lambda x: x.transpose(0, 1).reshape(4, -1, 2, 3),
    ),
    "joined to heads": (
        "s = Transpose <perm = [1, 0, 2]> (x) r = Reshape (s, t) h = Transpose <perm = [1, 0, 2]> "
        "(r) y = Reshape (h, back)",
        "int64[3] t = {4, 21, 2}, int64[4] back = {7, 3, 4, 2}",
        lambda x: x.reshape(-1, 4, 3, 2).transpose(1, 2),
    ),
    "beside a length that is inferred": (
        "y = Reshape (x, t)",
        "int64[3] t = {7, -1, 3}",
        lambda x: x.reshape(len(x), 8, 3),
    ),
    "beside lengths that are computed": (
        "s = Shape <start = 1> (x) t = Concat <axis = 0> (b, s) y = Reshape (x, t)",
        "int64[1] b = {7}",
        lambda x: x,
    ),
    "an expanded axis": (
        "m = ReduceMean <axes = [1]> (x) y = Expand (m, t)",
        "int64[3] t = {7, 4, 6}",
        lambda x: x.mean(1, keepdim=True).expand(-1, 4, -1),
    ),
    "a slice up to the end": (
        "y = Slice (x, from, to)",
        "int64[2] from = {0, 1}, int64[2] to = {7, 3}",
        lambda x: x[:, 1:3],
    ),
    "a repeated constant that is added": (
        "r = Expand (row, t) y = Add (x, r)",
        "int64[3] t = {7, 4, 6}, float[1, 1, 6] row = {1, 2, 3, 4, 5, 6}",
        lambda x: x + torch.arange(1, 7.0),
    ),
    "zeros that are concatenated": (
        "z = ConstantOfShape (t) y = Concat <axis = 1> (z, x)",
        "int64[3] t = {7, 1, 6}",
        lambda x: torch.cat([x.new_zeros(len(x), 1, 6), x], 1),
    ),
    "places that are the same for every sample": (
        "p = Expand (i, t) y = GatherElements <axis = 2> (x, p)",
        "int64[1, 1, 1] i = {5}, int64[3] t = {7, 4, 1}",
        lambda x: x[:, :, 5:],
    ),
    "a larger image": (
        'i = Unsqueeze (x, one) y = Resize (i, "", "", t)',
        "int64[1] one = {1}, int64[4] t = {7, 1, 8, 6}",
        lambda x: x.repeat_interleave(2, 1)[:, None],
    ),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_constant_shapes_follow_the_batch(from_text: Make, name: str) -> None:
    nodes, stored, expected = PATTERNS[name]
    model = from_text(f"""
        <ir_version: 9, opset_import: ["" : 17]>
        pattern (float[7, 4, 6] x) => (float[] y) <{stored}> {{ {nodes} }}""")
    free = with_free_batch(model)
    free.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"
    free.graph.output[0].type.tensor_type.ClearField("shape")
    session = onnxruntime.InferenceSession(free.SerializeToString())
    twin = from_onnx(model)
    for batch in (1, 3, 7):
        x = torch.randn(batch, 4, 6)
        torch.testing.assert_close(twin(x), expected(x))
        (found,) = session.run(None, {"x": x.numpy()})
        np.testing.assert_allclose(found, expected(x).numpy(), rtol=1e-5)


def test_other_free_axes_stay_free(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 9, opset_import: ["" : 17]>
        steps (float[7, T, 6] x) => (float[] y)
        <int64[3] heads = {-1, 21, 2}, int64[4] back = {-1, 7, 3, 2}> {
            s = Transpose <perm = [1, 0, 2]> (x)
            h = Reshape (s, heads)
            y = Reshape (h, back)
        }""")
    x = torch.randn(3, 5, 6)
    torch.testing.assert_close(from_onnx(model)(x), x.transpose(0, 1).reshape(5, 3, 3, 2))


def test_a_row_that_was_stored_for_every_sample_is_trained_as_one(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 9, opset_import: ["" : 17]>
        token (float[2, 1, 3] x) => (float[2, 2, 3] y)
        <float[2, 1, 3] tokens = {1, 2, 3, 1, 2, 3}> { y = Concat <axis = 1> (tokens, x) }""")
    twin = from_onnx(model)
    assert twin.names == ("tokens",)
    result = twin(torch.zeros(5, 1, 3))
    assert isinstance(result, Tensor)
    torch.autograd.backward(result.sum())
    gradient = twin.parameter("tokens").grad
    assert gradient is not None
    assert gradient.tolist() == [[[2.5] * 3]] * 2


def test_an_initial_state_of_zeros_is_no_weight(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 9, opset_import: ["" : 17]>
        cell (float[4, 2, 3] x) => (float[] y)
        <float[1, 5, 3] w, float[1, 5, 5] r, float[1, 4, 5] h = {
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}> {
            s = Transpose <perm = [1, 0, 2]> (x)
            y, last = RNN <hidden_size = 5> (s, w, r, "", "", h)
        }""")
    twin = from_onnx(model)
    assert twin.names == ("w", "r")
    assert isinstance(twin(torch.randn(3, 2, 3)), Tensor)


def test_zeros_that_are_expanded_over_a_batch_of_one_are_no_weight(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 9, opset_import: ["" : 17]>
        zeros (float[1, 4] x) => (float[] y)
        <float[1, 2] z = {0, 0}, int64[1] two = {2}, float[4, 2] w> {
            s = Shape <end = 1> (x)
            t = Concat <axis = 0> (s, two)
            e = Expand (z, t)
            m = MatMul (x, w)
            y = Add (m, e)
        }""")
    twin = from_onnx(model)
    assert twin.names == ("w",)
    x = torch.randn(3, 4)
    torch.testing.assert_close(twin(x), x @ twin.parameter("w"))


def test_rows_that_differ_are_left_alone(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 9, opset_import: ["" : 17]>
        apart (float[2, 1] x) => (float[2, 1] y) <float[2, 1] w = {1, 2}> { y = Add (x, w) }""")
    assert with_free_batch(model) is model


def test_a_weight_as_long_as_the_batch_is_no_batch(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 9, opset_import: ["" : 17]>
        square (float[6, 6] x) => (float[6, 6] y) <float[6, 6] w, int64[2] t = {6, 6}> {
            a = MatMul (x, w)
            b = Transpose (a)
            c = Transpose (b)
            y = Reshape (c, t)
        }""")
    x = torch.randn(2, 6)
    twin = from_onnx(model)
    torch.testing.assert_close(twin(x), x @ twin.parameter("w"))
