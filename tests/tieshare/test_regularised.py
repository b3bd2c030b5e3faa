import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from onnx import ModelProto

from tieshare.errors import UnsupportedModel
from tieshare.graph import Layer, structure_of, to_rows
from tieshare.penalties import L1, PENALTIES, OrderedRows, row_weights
from tieshare.recipe import PenaltyName, Recipe
from tieshare.regularised import Regularised, Rows, regularised, shrink, typical_size
from tieshare.twin import Twin, from_onnx

Fresh = Callable[..., ModelProto]
Array = np.ndarray


def shares(model: ModelProto, **recipe: Any) -> tuple[Twin, tuple[Regularised, ...]]:
    twin = from_onnx(model)
    return twin, regularised(twin, structure_of(model), Recipe(**recipe))


def joined(items: tuple[Regularised, ...]) -> dict[str, list[list[int]]]:
    """By the weights of the layers that share a penalty: the group of each of their rows."""
    return {
        " ".join(layer.weight for layer in item.layers): [p.groups.tolist() for p in item.parts]
        for item in items
    }


def lam(item: Regularised) -> Array:
    assert isinstance(item.penalty, OrderedRows)
    return item.penalty.lam


MLP = "g (float[N,64] x) => (float[N,10] y) { h = Gemm(x, w1, b1) r = Relu(h) y = Gemm(r, w2, b2) }"


@pytest.mark.parametrize(("penalty", "fraction"), [("growl", 0.5), ("oscar", 1.0)])
def test_rows_that_are_one_unit_each_get_equal_weights(
    fresh: Fresh, penalty: PenaltyName, fraction: float
) -> None:
    model = fresh(MLP, w1=(64, 32), b1=(32,), w2=(32, 10), b2=(10,))
    twin, (first, second) = shares(model, penalty=penalty)
    assert lam(first).tolist() == row_weights(64, fraction=fraction).tolist()
    assert lam(second).tolist() == [1.0] * 32
    # The death of a hidden unit saves 65 weights beside the ten that read it.
    norms = [np.linalg.norm(twin.tensors()[name], axis=1).mean() for name in ("w1", "w2")]
    assert first.unit == pytest.approx(norms[0])
    assert second.unit == pytest.approx(norms[1] * math.sqrt(75 / 10))


CONV = (
    "g (float[N, 1, 8, 8] x) => (float[N, 10] y)"
    "{ h = Conv (x, k, c) r = Relu (h) p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (r)"
    "  f = Flatten (p) y = Gemm (f, w, b) }"
)


def test_a_few_channels_of_an_image_get_no_penalty(fresh: Fresh) -> None:
    twin, (only,) = shares(fresh(CONV, k=(6, 1, 3, 3), c=(6,), w=(54, 10), b=(10,)))
    assert [layer.weight for layer in only.layers] == ["w"]
    # Nine rows a channel: ordered weights. A row's death saves a ninth of a channel beside its
    # ten weights: sqrt((10 + (9 + 1) / 9) / 10) of the mean norm.
    assert lam(only)[0] > lam(only)[-1]
    mean = np.linalg.norm(twin.tensors()["w"], axis=1).mean()
    assert only.unit == pytest.approx(mean * math.sqrt((10 + 10 / 9) / 10))


def test_a_network_of_few_inputs_alone_has_nothing_to_compress(fresh: Fresh) -> None:
    model = fresh("g (float[N, 7] x) => (float[N, 3] y) { y = Gemm (x, w, b) }", w=(7, 3), b=(3,))
    with pytest.raises(UnsupportedModel, match="8 inputs"):
        shares(model)


def test_layers_that_read_one_residual_stream_share_a_penalty(fresh: Fresh) -> None:
    text = (
        "g (float[N,4] x) => (float[N,2] y)"
        "{ a = Gemm(x, w1, b1) h = MatMul(a, w2) r = Relu(h) i = MatMul(r, w3) s = Add(a, i)"
        "  y = Gemm<transB = 1>(s, w4, b4) }"
    )
    sizes = {"w1": (4, 5), "b1": (5,), "w2": (5, 6), "w3": (6, 5), "w4": (2, 5), "b4": (2,)}
    twin, items = shares(fresh(text, **sizes))
    assert joined(items) == {"w2 w4": [[0, 1, 2, 3, 4]] * 2, "w3": [[0, 1, 2, 3, 4, 5]]}
    (stream,) = (item for item in items if len(item.parts) == 2)
    values = twin.tensors()
    side_by_side = np.hstack([values["w2"], values["w4"].T])  # (5, 8)
    # With a unit of the stream go its columns in w1 (4), in w3 (6), and its bias.
    mean = np.linalg.norm(side_by_side, axis=1).mean()
    assert stream.unit == pytest.approx(mean * math.sqrt((8 + 4 + 6 + 1) / 8))
    assert lam(stream).tolist() == [1.0] * 5


def test_squeeze_and_excite_dies_with_the_channels_that_it_weighs(fresh: Fresh) -> None:
    text = (
        "g (float[N,3,4,4] x) => (float[N,2,4,4] y)"
        "{ h = Conv(x, k1) q = GlobalAveragePool(h) s = Conv(q, k2) r = Relu(s) e = Conv(r, k3)"
        "  g = Sigmoid(e) m = Mul(h, g) y = Conv(m, k4) }"
    )
    kernels = {"k1": (8, 3), "k2": (2, 8), "k3": (8, 2), "k4": (2, 8)}
    _, items = shares(fresh(text, **{name: (*size, 1, 1) for name, size in kernels.items()}))
    assert joined(items) == {"k2 k4": [list(range(8))] * 2, "k3": [[0, 1]]}


def test_concatenated_channels_die_in_all_layers_that_read_them(fresh: Fresh) -> None:
    """As in a DenseNet: the second layer reads the first two blocks, the third one all three."""
    text = (
        "g (float[N,4] x) => (float[N,2] y)"
        "{ a = MatMul(x, w1) b = MatMul(a, w2) ab = Concat<axis = 1>(a, b) c = MatMul(ab, w3)"
        "  abc = Concat<axis = 1>(ab, c) y = MatMul(abc, w4) }"
    )
    _, (only,) = shares(fresh(text, w1=(4, 3), w2=(3, 2), w3=(5, 2), w4=(7, 2)))
    assert joined((only,)) == {
        "w2 w3 w4": [[0, 1, 2], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 6]],
    }
    assert (only.groups, lam(only).tolist()) == (7, [1.0] * 7)


def test_the_cell_and_the_layer_behind_it_read_the_same_hidden_units(fresh: Fresh) -> None:
    text = (
        "g (float[T,N,9] x) => (float[T,N,2] y)"
        "{ h = GRU<hidden_size = 4>(x, w, r) axes = Constant<value_ints = [1]>()"
        "  s = Squeeze(h, axes) y = MatMul(s, v) }"
    )
    _, items = shares(fresh(text, w=(1, 12, 9), r=(1, 12, 4), v=(4, 2)))
    assert joined(items) == {"w": [list(range(9))], "r v": [[0, 1, 2, 3]] * 2}


def test_layers_that_read_the_same_flattened_rows_keep_them_apart_from_their_channel(
    fresh: Fresh,
) -> None:
    text = (
        "g (float[N,1,2,2] x) => (float[N,2] y, float[N,3] z)"
        "{ h = Conv(x, k) f = Flatten(h) y = MatMul(f, w1) z = MatMul(f, w2) }"
    )
    _, items = shares(fresh(text, k=(2, 1, 1, 1), w1=(8, 2), w2=(8, 3)))
    assert joined(items) == {"w1 w2": [list(range(8))] * 2}


def layer_of(shape: tuple[int, ...]) -> Layer:
    """A Conv weight (out, in, kh, kw) or a Gemm weight (in, out)."""
    conv = len(shape) == 4
    rows, units = (shape[1], shape[0]) if conv else shape
    return Layer(
        name="layer",
        operator="Conv" if conv else "Gemm",
        weight="w",
        bias=None,
        row_axis=1 if conv else 0,
        unit_axis=0 if conv else 1,
        rows=rows,
        units=units,
        columns=int(np.prod(shape)) // rows,
        kernel=shape[2:],
        input="x",
        output="y",
        node=0,
        slot=1,
        bias_node=None,
        uses=1,
    )


def part(shape: tuple[int, ...], groups: list[int] | None = None) -> Rows:
    layer = layer_of(shape)
    return Rows(layer, torch.tensor(groups or range(layer.rows)))


def drawn(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def all_of(groups: int) -> torch.Tensor:
    return torch.ones(groups, dtype=torch.bool)


@pytest.mark.parametrize("shape", [(9, 4), (3, 9, 2, 2)])
@pytest.mark.parametrize("name", get_args(PenaltyName))
def test_a_shrunk_weight_is_the_prox_of_its_rows(name: PenaltyName, shape: tuple[int, ...]) -> None:
    layer, penalty = layer_of(shape), PENALTIES[name](9, 0.3).at(0.7)
    weight = drawn(*shape)
    expected = penalty.prox(to_rows(layer, weight.numpy()), 0.5)
    alive = shrink([weight], [part(shape)], penalty, step=0.5, alive=all_of(9))
    assert to_rows(layer, weight.numpy()) == pytest.approx(expected, abs=1e-6)
    assert alive.tolist() == expected.any(axis=1).tolist()


@pytest.mark.parametrize("name", get_args(PenaltyName))
def test_the_prox_of_layers_that_die_together_is_that_of_the_matrix_they_make_side_by_side(
    name: PenaltyName,
) -> None:
    shapes = [(9, 4), (3, 9, 2, 2)]
    sizes = torch.linspace(0.1, 2, 9)
    weights = [drawn(9, 4) * sizes[:, None], drawn(3, 9, 2, 2) * sizes[:, None, None]]
    matrices = [to_rows(layer_of(s), w.numpy()) for s, w in zip(shapes, weights, strict=True)]
    penalty = PENALTIES[name](9, 0.3).at(3.0)
    expected = penalty.prox(np.hstack(matrices), 0.5)  # (9, 16)
    alive = shrink(weights, [part(s) for s in shapes], penalty, step=0.5, alive=all_of(9))
    for shape, weight, W in zip(shapes, weights, np.hsplit(expected, [4]), strict=True):
        assert to_rows(layer_of(shape), weight.numpy()) == pytest.approx(W, abs=1e-6)
    assert alive.tolist() == expected.any(axis=1).tolist()
    assert name not in ("growl", "group_lasso", "oscar") or 0 < alive.sum() < 9


def test_rows_of_a_group_are_found_wherever_a_layer_has_them() -> None:
    """Group 2 is a row of the second layer alone; the groups of the first are turned round."""
    first, second = drawn(2, 3), drawn(3, 3)
    stacked = np.zeros((3, 6), dtype=np.float32)
    stacked[[1, 0], :3], stacked[:, 3:] = first.numpy(), second.numpy()
    penalty = PENALTIES["group_lasso"](3, 0.0).at(0.8)
    expected = penalty.prox(stacked, 1.0)
    shrink(
        [first, second],
        [part((2, 3), [1, 0]), part((3, 3))],
        penalty,
        step=1.0,
        alive=all_of(3),
    )
    assert first.numpy() == pytest.approx(expected[[1, 0], :3], abs=1e-6)
    assert second.numpy() == pytest.approx(expected[:, 3:], abs=1e-6)


def test_shrinking_zeroes_the_rows_that_were_dead_before() -> None:
    weight = torch.ones(3, 9, 2, 2)
    was = torch.tensor([True] * 5 + [False] * 4)
    penalty = PENALTIES["growl"](9, 0.0)
    alive = shrink([weight], [part((3, 9, 2, 2))], penalty, step=0.0, alive=was)
    assert alive.tolist() == was.tolist()
    assert weight[:, :5].eq(1).all()
    assert weight[:, 5:].eq(0).all()


def test_the_prox_that_would_leave_nothing_is_not_taken() -> None:
    weight = torch.ones(9, 4)
    was = torch.tensor([True] * 5 + [False] * 4)
    penalty = PENALTIES["growl"](9, 0.0).at(1e9)
    alive = shrink([weight], [part((9, 4))], penalty, step=1.0, alive=was)
    assert alive.tolist() == was.tolist()
    assert weight.sum(1).tolist() == [4.0] * 5 + [0.0] * 4


def test_a_threshold_is_in_the_units_of_what_it_is_compared_with() -> None:
    W, parts = [torch.tensor([[3.0, -4.0], [0.0, 1.0]])], [part((2, 2))]
    assert typical_size(PENALTIES["growl"](2, 0.0), W, parts) == 3.0  # norms 5 and 1
    assert typical_size(L1(), W, parts) == 2.0
    assert typical_size(PENALTIES["weight_decay"](2, 0.0), W, parts) == 1.0
    assert typical_size(PENALTIES["growl"](2, 0.0), [torch.zeros(2, 2)], parts) == 1.0
    both = [torch.tensor([[3.0], [0.0]]), torch.tensor([[4.0], [1.0]])]
    assert typical_size(PENALTIES["growl"](2, 0.0), both, [part((2, 1))] * 2) == 3.0
