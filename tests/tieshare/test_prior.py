"""What a recipe ties is equal from the start, on the path, in retraining and in all files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tieshare.data import Dataset
from tieshare.errors import RecipeError
from tieshare.exports.count import count_shared
from tieshare.exports.prune import remove_dead_units
from tieshare.exports.shared import shared
from tieshare.exports.tied import tied
from tieshare.graph import structure_of, tensors
from tieshare.job import Job
from tieshare.measure import predict
from tieshare.prior import EqualRows, copies_of, read_once, with_copies, with_equal
from tieshare.recipe import Recipe
from tieshare.stage1 import RisingPath
from tieshare.stage2 import Retraining
from tieshare.tie_groups import TiedRows, TiedTensors, TieGroup
from tieshare.twin import from_onnx

Array = np.ndarray
Jobs = Callable[..., Job]

DEEP = (
    "deep (float[N, 64] x) => (float[N, 10] logits)"
    "{ a = Gemm (x, w1, b1) p = Relu (a) b = Gemm (p, w2, b2) q = Relu (b)"
    "  c = Gemm (q, w3, b3) r = Relu (c) logits = Gemm (r, w4, b4) }"
)
SHAPES = {f"w{i}": shape for i, shape in enumerate([(64, 24), (24, 24), (24, 24), (24, 10)], 1)}
SIZES = {**SHAPES, **{f"b{i}": (shape[1],) for i, shape in enumerate(SHAPES.values(), 1)}}
FIRST = "Gemm_0"
ROWS = (TiedRows(FIRST, (20, 43, 5)), TiedRows(FIRST, (10, 11)))
TENSORS = (TiedTensors(("w3", "w2")), TiedTensors(("b2", "b3")))


@pytest.fixture(scope="session")
def deep(
    fresh: Callable[..., ModelProto], taught: Callable[..., ModelProto], digits: Dataset
) -> ModelProto:
    """64-24-24-24-10, taught the digits."""
    return taught(fresh(DEEP, **SIZES), digits, epochs=8)


@pytest.fixture
def deep_job(job_of: Jobs, deep: ModelProto, digits: Dataset, tmp_path: Path) -> Jobs:
    def make(*groups: TieGroup, **recipe: Any) -> Job:
        given = {"learning_rate": 0.05, "tie_groups": groups}
        return job_of(deep, digits, tmp_path, **(given | recipe))

    return make


def path_of(job: Job, strength: float = 0.3) -> RisingPath:
    twin = job.twin(job.start)
    path = RisingPath(twin, job.structure, job.trainer, job.recipe, job.plan)
    path.pace.strength = strength
    return path


def different(W: Array, rows: tuple[int, ...]) -> int:
    return len({W[row].tobytes() for row in rows})


def refused(model: ModelProto, *groups: TieGroup) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        with_equal(model, Recipe(tie_groups=groups))
    return caught.value


def test_without_groups_the_model_itself_is_the_start(deep: ModelProto) -> None:
    assert with_equal(deep, Recipe()) is deep


def test_rows_start_at_their_mean(deep: ModelProto) -> None:
    before = tensors(deep)
    after = tensors(with_equal(deep, Recipe(tie_groups=ROWS)))
    for group in ROWS:
        rows = list(group.rows)
        assert different(after["w1"], group.rows) == 1
        assert after["w1"][rows[0]] == pytest.approx(before["w1"][rows].mean(axis=0), abs=1e-6)
    others = np.setdiff1d(np.arange(64), [row for group in ROWS for row in group.rows])
    assert np.array_equal(after["w1"][others], before["w1"][others])
    assert all(np.array_equal(after[name], before[name]) for name in SIZES if name != "w1")


def test_tensors_start_at_their_mean_and_are_read_as_the_first_that_is_stored(
    deep: ModelProto,
) -> None:
    start = with_equal(deep, Recipe(tie_groups=TENSORS))
    before, after = tensors(deep), tensors(start)
    assert copies_of(deep, TENSORS) == {"w3": "w2", "b3": "b2"}
    assert after["w2"] == pytest.approx((before["w2"] + before["w3"]) / 2, abs=1e-6)
    reads = [list(node.input) for node in start.graph.node if node.op_type == "Gemm"]
    assert [read[1:] for read in reads] == [["w1", "b1"], ["w2", "b2"], ["w2", "b2"], ["w4", "b4"]]
    names = [(node.name, node.op_type, *node.output) for node in deep.graph.node]
    assert [(node.name, node.op_type, *node.output) for node in start.graph.node] == names


def test_rows_of_tensors_that_are_one_can_be_tied_as_well(deep: ModelProto) -> None:
    groups = (TiedRows("Gemm_2", (0, 5)), TENSORS[0])
    W = tensors(with_equal(deep, Recipe(tie_groups=groups)))["w2"]
    mean = (tensors(deep)["w2"] + tensors(deep)["w3"]) / 2
    assert different(W, (0, 5)) == 1
    assert W[0] == pytest.approx(mean[[0, 5]].mean(axis=0), abs=1e-6)
    assert W[1] == pytest.approx(mean[1], abs=1e-6)


def test_tensors_of_constant_nodes_are_read_only_after_they_are_made() -> None:
    """The copy is made first in the file, and read before the other one is there."""
    rng = np.random.default_rng(0)
    nodes = []
    for name, source, result in (("late", "x", "h"), ("early", "h", "y")):
        array = numpy_helper.from_array(rng.normal(size=(9, 9)).astype(np.float32))
        nodes.append(helper.make_node("Constant", [], [name], value=array))
        nodes.append(helper.make_node("MatMul", [source, name], [result]))
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 9])] for name in "xy"
    )
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    groups = (TiedTensors(("early", "late")),)
    start = with_equal(model, Recipe(tie_groups=groups))
    x = rng.normal(size=(4, 9)).astype(np.float32)
    W = (tensors(model)["early"] + tensors(model)["late"]) / 2
    assert predict(start, "y", [x]) == pytest.approx(x @ W @ W, rel=1e-4, abs=1e-4)
    file = with_copies(model, start, copies_of(model, groups))
    assert [node.input for node in file.graph.node] == [node.input for node in model.graph.node]
    assert predict(file, "y", [x]) == pytest.approx(x @ W @ W, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    ("groups", "where", "message"),
    [
        ((TiedRows("fc9", (0, 1)),), "tie_groups.0.layer", "no layer 'fc9'"),
        ((ROWS[0], TiedRows(FIRST, (0, 64))), "tie_groups.1.rows", "rows are 0 to 63"),
        ((TENSORS[0], TiedRows("Gemm_4", (0, 1))), "tie_groups.1.layer", "those of another layer"),
        ((TiedTensors(("w2", "w9")),), "tie_groups.0.tensors", "'w9' is not stored"),
        (
            (TiedTensors(("w1", "w2")),),
            "tie_groups.0.tensors",
            r"(64, 24) and 'w2' float32(24, 24)",
        ),
    ],
)
def test_a_group_that_the_model_does_not_have_is_named(
    deep: ModelProto, groups: tuple[TieGroup, ...], where: str, message: str
) -> None:
    error = refused(deep, *groups)
    assert error.where == where
    assert message in error.message


def test_a_tensor_that_is_no_weight_can_not_be_tied(fresh: Callable[..., ModelProto]) -> None:
    text = (
        "g (float[N, 9] x) => (float[N, 9] y)"
        "{ h = MatMul (x, w) y = BatchNormalization (h, s, b, m, v) }"
    )
    model = fresh(text, w=(9, 9), s=(9,), b=(9,), m=(9,), v=(9,))
    error = refused(model, TiedTensors(("m", "b")))
    assert error.message == "tensor 'm' is not trained; those that are: w, s, b"


def test_a_step_with_equal_rows_is_one_along_the_mean_of_their_gradients(
    deep_job: Jobs,
) -> None:
    job = deep_job(ROWS[0], learning_rate=0.01)
    path, free = path_of(job, strength=0.0), path_of(job, strength=0.0)
    free.equal = EqualRows(free.twin, job.structure, ())
    weight, rows = free.twin.parameter("w1"), torch.tensor(ROWS[0].rows)

    def averaged(grad: torch.Tensor) -> torch.Tensor:
        return grad.index_copy(0, rows, grad[rows].mean(0, keepdim=True).expand(len(rows), -1))

    weight.register_hook(averaged)
    for index in list(job.trainer.batches(seed=0, epoch=0))[:5]:
        for one in (path, free):
            job.trainer.step(one.twin, one.optimizer, index)
    kept = list(ROWS[0].rows)
    found, expected = (one.twin.tensors()["w1"] for one in (path, free))
    assert different(found, ROWS[0].rows) == 1
    assert found[kept] == pytest.approx(expected[kept], abs=1e-5)
    assert np.abs(found[kept] - tensors(job.start)["w1"][kept]).max() > 1e-3


@pytest.mark.parametrize("penalty", ["growl", "group_lasso", "l1", "weight_decay"])
def test_rows_stay_equal_along_the_path_and_die_together(deep_job: Jobs, penalty: str) -> None:
    second = TiedRows("Gemm_2", (0, 1, 2))
    path = path_of(deep_job(*ROWS, second, penalty=penalty))
    for _ in range(4):
        path.epoch()
        values = path.twin.tensors()
        for group in ROWS:
            assert different(values["w1"], group.rows) == 1
        assert different(values["w2"], second.rows) == 1
    if penalty == "group_lasso":
        dead = ~values["w1"].any(axis=1)
        assert 0 < dead.sum() < 64


def test_a_kernel_keeps_its_equal_channels(fresh: Callable[..., ModelProto]) -> None:
    text = "g (float[N, 9, 4, 4] x) => (float[N, 6, 4, 4] y) { y = Conv (x, k) }"
    model = fresh(text, k=(6, 9, 1, 1))
    twin, structure = from_onnx(model), structure_of(model)
    name = structure.layers[0].name
    equal = EqualRows(twin, structure, (TiedRows(name, (0, 8)), TiedRows(name, (2, 5, 7))))
    before = twin.tensors()["k"]
    equal.restore()
    after = twin.tensors()["k"]
    for rows in ((0, 8), (2, 5, 7)):
        assert len({after[:, row].tobytes() for row in rows}) == 1
        assert after[:, rows[0]] == pytest.approx(before[:, rows].mean(axis=1), abs=1e-6)
    assert np.array_equal(after[:, [1, 3, 4, 6]], before[:, [1, 3, 4, 6]])


def retrained(job: Job, start: ModelProto) -> dict[str, Array]:
    training = Retraining(start, job.values, job.trainer, job.recipe, 2)
    training.epoch()
    training.epoch()
    return training.network.tensors()


def test_rows_stay_equal_in_retraining(deep_job: Jobs) -> None:
    job = deep_job(*ROWS)
    after = retrained(job, job.start)["w1"]
    for group in ROWS:
        assert different(after, group.rows) == 1
        assert (after != tensors(job.start)["w1"])[list(group.rows)].any()
    assert different(after, tuple(range(64))) == 64 - 2 - 1


def test_tensors_are_one_parameter_in_both_stages_and_equal_in_the_file(deep_job: Jobs) -> None:
    job = deep_job(*TENSORS)
    path = path_of(job)
    for _ in range(3):
        path.epoch()
    sparse = tied(job.start, path.twin.tensors(), job.structure)
    narrow = remove_dead_units(sparse)
    assert "w3" not in tensors(narrow)
    values = retrained(job, sparse)
    assert "w3" not in values
    assert values["w2"].shape < (24, 24)
    file = job.tied_file(sparse)
    found = tensors(file)
    assert found["w2"].tobytes() == found["w3"].tobytes()
    assert found["b2"].tobytes() == found["b3"].tobytes()
    assert [node.input for node in file.graph.node] == [n.input for n in job.model.graph.node]
    expected = predict(sparse, "logits", job.samples)
    assert predict(file, "logits", job.samples) == pytest.approx(expected, abs=1e-5)


def test_the_shared_file_stores_equal_tensors_once(deep_job: Jobs) -> None:
    job = deep_job(*TENSORS)
    path = path_of(job)
    for _ in range(3):
        path.epoch()
    file = job.tied_file(tied(job.start, path.twin.tensors(), job.structure))
    small = shared(job.read_once(file), job.samples).model
    expected = predict(file, "logits", job.samples)
    assert predict(small, "logits", job.samples) == pytest.approx(expected, abs=1e-4)
    counts = job.count(file)
    stored = count_shared(small, counts.dense_parameters)
    assert stored.unique_parameters == counts.unique_parameters < 2000


def test_equal_tensors_are_counted_once_in_the_files_and_twice_in_the_dense_model(
    deep_job: Jobs,
) -> None:
    job = deep_job(*TENSORS)
    total = sum(int(np.prod(shape)) for shape in SIZES.values())
    start, dense = job.count(job.start), job.count(job.model)
    assert (start.parameters, start.dense_parameters) == (total, total)
    assert start.unique_parameters == total - 24 * 24 - 24
    assert dense.unique_parameters == total


def test_only_what_is_equal_is_read_once(deep: ModelProto) -> None:
    copies = copies_of(deep, TENSORS)
    assert read_once(deep, copies) is deep
    assert read_once(deep, {}) is deep
    start = with_equal(deep, Recipe(tie_groups=TENSORS))
    file = with_copies(deep, start, copies)
    assert with_copies(deep, file, copies) is file
    again = read_once(file, copies)
    assert [list(n.input) for n in again.graph.node] == [list(n.input) for n in start.graph.node]
