"""A whole job with penalties by layer, ties found by the path and ties declared."""

from collections.abc import Callable

import pytest
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.exports.count import count_shared
from tieshare.graph import structure_of, tensors
from tieshare.measure import predict
from tieshare.pipeline import Result, compress
from tieshare.recipe import Recipe, Target
from tieshare.tie_groups import TiedRows, TiedTensors

DEEP = (
    "deep (float[N, 64] x) => (float[N, 10] logits)"
    "{ a = Gemm (x, w1, b1) p = Relu (a) b = Gemm (p, w2, b2) q = Relu (b)"
    "  c = Gemm (q, w3, b3) r = Relu (c) logits = Gemm (r, w4, b4) }"
)
WEIGHTS = {"w1": (64, 24), "w2": (24, 24), "w3": (24, 24), "w4": (24, 10)}
BIASES = {"b1": (24,), "b2": (24,), "b3": (24,), "b4": (10,)}
PAIR = TiedTensors(("w2", "w3"))


@pytest.fixture(scope="session")
def network(
    fresh: Callable[..., ModelProto], taught: Callable[..., ModelProto], digits: Dataset
) -> ModelProto:
    return taught(fresh(DEEP, **WEIGHTS, **BIASES), digits, epochs=8)


@pytest.fixture(scope="session")
def result(network: ModelProto, digits: Dataset, short: Callable[..., Recipe]) -> Result:
    first = structure_of(network).layers[0].name
    recipe = short(
        Target(min_ratio=3.0),
        path_epochs=60,
        retrain_epochs=2,
        penalties={first: "slope"},
        tie_by="path",
        preference=0.3,
        tie_groups=(TiedRows(first, (20, 43, 5)), PAIR),
    )
    return compress(network, digits, recipe)


def test_what_was_declared_is_equal_in_the_tied_file(result: Result, network: ModelProto) -> None:
    values = tensors(result.tied)
    assert values["w2"].tobytes() == values["w3"].tobytes()
    assert len({values["w1"][row].tobytes() for row in (20, 43, 5)}) == 1
    assert [node.input for node in result.tied.graph.node] == [n.input for n in network.graph.node]


def test_the_shared_file_computes_the_same_and_stores_equal_tensors_once(
    result: Result, digits: Dataset
) -> None:
    x = digits.arrays["x"][:200]
    expected = predict(result.tied, "logits", [x])
    assert predict(result.shared, "logits", [x]) == pytest.approx(expected, abs=1e-3)
    counts = result.report.tied
    stored = count_shared(result.shared, counts.parameters)
    width = len({row.tobytes() for row in tensors(result.tied)["w2"].T}) - 1
    # A tied row stays double where the graph that joins it takes more bytes; a whole w3 never.
    assert 0 <= stored.unique_parameters - counts.unique_parameters < 0.5 * width**2
    assert counts.compression_ratio >= 3


def test_the_report_keeps_the_recipe_as_it_was_given(result: Result) -> None:
    recipe = Recipe.from_dict(
        {k: v for k, v in result.report.recipe.items() if k in Recipe().to_dict()}
    )
    assert recipe.tie_by == "path"
    assert recipe.tie_groups[1] == PAIR
    assert list(recipe.penalties.values()) == ["slope"]
