import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.errors import RecipeError, UnsupportedModel
from tieshare.graph import structure_of
from tieshare.penalties import L1, OrderedRows, WeightDecay, row_weights, slope_weights
from tieshare.recipe import PenaltyName, Recipe
from tieshare.regularised import Regularised, costs_of, regularised
from tieshare.tie_groups import TiedRows
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


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        ("growl", row_weights(64)),
        ("oscar", row_weights(64, fraction=1.0)),
        ("slope", slope_weights(64)),
    ],
)
def test_rows_that_are_one_unit_each_get_equal_weights(
    fresh: Fresh, penalty: PenaltyName, expected: Array
) -> None:
    model = fresh(MLP, w1=(64, 32), b1=(32,), w2=(32, 10), b2=(10,))
    twin, (first, second) = shares(model, penalty=penalty)
    assert lam(first).tolist() == expected.tolist()
    assert lam(second).tolist() == [1.0] * 32
    # The death of a hidden unit saves 65 weights beside the ten that read it.
    norms = [np.linalg.norm(twin.tensors()[name], axis=1).mean() for name in ("w1", "w2")]
    assert first.unit == pytest.approx(norms[0])
    assert second.unit == pytest.approx(norms[1] * math.sqrt(75 / 10))


def test_with_a_row_go_its_weights_and_with_a_unit_what_feeds_it(fresh: Fresh) -> None:
    """While all is alive, and where half of the inputs and a quarter of the units are dead."""
    model = fresh(MLP, w1=(64, 32), b1=(32,), w2=(32, 10), b2=(10,))
    twin, (first, second) = shares(model)
    structure = structure_of(model)
    whole = costs_of(twin, structure)
    assert set(first.sizes(whole, {})) == {32.0}
    assert set(second.sizes(whole, {})) == {10.0 + 64 + 1}
    inputs, units = np.arange(64) < 32, np.arange(32) < 24
    left = {"w1": {0: inputs, 1: units}, "b1": {0: units}, "w2": {0: units}}
    now = costs_of(twin, structure, left)
    assert set(first.sizes(now, left)) == {24.0}
    assert set(second.sizes(now, left)) == {10.0 + 32 + 1}


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


def test_rows_that_read_one_channel_share_what_feeds_it(fresh: Fresh) -> None:
    """9 rows of the dense layer read each channel, which has a kernel of 9 and a bias."""
    model = fresh(CONV, k=(6, 1, 3, 3), c=(6,), w=(54, 10), b=(10,))
    twin, items = shares(model)
    (item,) = [one for one in items if one.layers[0].weight == "w"]
    sizes = item.sizes(costs_of(twin, structure_of(model)), {})
    assert sizes == pytest.approx(np.full(54, 10 + (9 + 1) / 9))


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


def named(model: ModelProto) -> dict[str, str]:
    """The name of each layer by its weight."""
    return {layer.weight: layer.name for layer in structure_of(model).layers}


def refused(model: ModelProto, **recipe: Any) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        shares(model, **recipe)
    return caught.value


@pytest.fixture
def chain(fresh: Fresh) -> ModelProto:
    return fresh(MLP, w1=(64, 32), b1=(32,), w2=(32, 10), b2=(10,))


def test_a_layer_may_have_a_penalty_of_its_own(chain: ModelProto) -> None:
    names = named(chain)
    _, (first, second) = shares(chain, penalties={names["w1"]: "l1"}, l2=0.1)
    assert (first.penalty, lam(second).tolist()) == (L1(l2=0.1), [1.0] * 32)
    _, (first, second) = shares(chain, penalties={names["w2"]: "weight_decay"})
    assert lam(first).tolist() == row_weights(64).tolist()
    assert second.penalty == WeightDecay()


def test_a_penalty_that_a_layer_is_given_by_its_name_is_taken_as_it_is(chain: ModelProto) -> None:
    _, (_, second) = shares(chain, penalties={named(chain)["w2"]: "growl"})
    assert lam(second).tolist() == row_weights(32).tolist()


def test_a_layer_that_is_given_none_is_left_alone(chain: ModelProto) -> None:
    _, items = shares(chain, penalties={named(chain)["w2"]: "none"})
    assert [layer.weight for item in items for layer in item.layers] == ["w1"]


def test_not_all_layers_can_be_left_alone(chain: ModelProto) -> None:
    error = refused(chain, penalties=dict.fromkeys(named(chain).values(), "none"))
    assert error.where == "penalties"


def test_a_layer_that_is_not_there_is_named_with_those_that_are(chain: ModelProto) -> None:
    error = refused(chain, penalties={"fc9": "l1"})
    assert error.where == "penalties.fc9"
    assert all(name in error.message for name in named(chain).values())


def test_a_layer_of_which_no_row_can_go_takes_no_penalty(fresh: Fresh) -> None:
    model = fresh(CONV, k=(6, 1, 3, 3), c=(6,), w=(54, 10), b=(10,))
    names = named(model)
    error = refused(model, penalties={names["k"]: "l1"})
    assert error.where == f"penalties.{names['k']}"
    assert names["w"] in error.message
    _, items = shares(model, penalties={names["k"]: "none"})
    assert len(items) == 1


RESIDUAL = (
    "g (float[N,4] x) => (float[N,2] y)"
    "{ a = Gemm(x, w1, b1) h = MatMul(a, w2) r = Relu(h) i = MatMul(r, w3) s = Add(a, i)"
    "  y = Gemm<transB = 1>(s, w4, b4) }"
)
SIZES = {"w1": (4, 5), "b1": (5,), "w2": (5, 6), "w3": (6, 5), "w4": (2, 5), "b4": (2,)}


def test_the_name_that_one_layer_is_given_holds_for_all_that_read_the_same_units(
    fresh: Fresh,
) -> None:
    model = fresh(RESIDUAL, **SIZES)
    for weight in ("w2", "w4"):
        _, items = shares(model, penalties={named(model)[weight]: "l1"})
        kinds = {item.layers[0].weight: type(item.penalty) for item in items}
        assert kinds == {"w2": L1, "w3": OrderedRows}
    _, items = shares(model, penalties={named(model)["w4"]: "none"})
    assert joined(items) == {"w3": [[0, 1, 2, 3, 4, 5]]}


def test_two_names_for_layers_that_read_the_same_units_are_refused(fresh: Fresh) -> None:
    model = fresh(RESIDUAL, **SIZES)
    first, second = (named(model)[weight] for weight in ("w2", "w4"))
    error = refused(model, penalties={first: "l1", second: "none"})
    assert error.where == f"penalties.{second}"
    assert repr(first) in error.message
    assert repr(second) in error.message
    assert shares(model, penalties={first: "l1", second: "l1"})


def test_rows_that_a_recipe_ties_are_one_group(chain: ModelProto) -> None:
    tied = TiedRows(named(chain)["w1"], (1, 5, 63)), TiedRows(named(chain)["w1"], (7, 8))
    twin, (first, second) = shares(chain, tie_groups=tied)
    (groups,) = joined((first,))["w1"]
    assert groups[1] == groups[5] == groups[63]
    assert groups[7] == groups[8] != groups[1]
    assert sorted(set(groups)) == list(range(first.groups)) == list(range(61))
    assert len(lam(first)) == 61
    assert second.groups == 32
    squares = np.bincount(groups, (twin.tensors()["w1"] ** 2).sum(axis=1))
    assert first.unit == pytest.approx(np.sqrt(squares).mean())


def test_units_whose_rows_are_tied_in_one_layer_are_one_group_in_all_that_read_them(
    fresh: Fresh,
) -> None:
    model = fresh(RESIDUAL, **SIZES)
    _, items = shares(model, tie_groups=(TiedRows(named(model)["w4"], (3, 0)),))
    assert joined(items)["w2 w4"] == [[0, 1, 2, 0, 3]] * 2
