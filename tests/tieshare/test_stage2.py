from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import ModelProto

from tieshare.checkpoint import Checkpoints
from tieshare.data import Dataset
from tieshare.exports.prune import remove_dead_units
from tieshare.exports.tied import tied
from tieshare.exports.widen import widen
from tieshare.graph import structure_of, tensors, to_rows
from tieshare.graph.tensors import with_tensors
from tieshare.job import Job
from tieshare.measure import predict
from tieshare.stage2 import Retraining, TiedTwin
from tieshare.twin import from_onnx

Array = np.ndarray
Make = Callable[..., Retraining]

DEAD = [0, 7, 8]
TIED = [[1, 2, 3], [10, 20, 30, 40]]
UNREAD = [4, 5, 31]  # hidden units, dead rows of the second layer
TIED_UNITS = [[0, 1]]
ALIVE = 32 - len(UNREAD)


def structured(W: Array, dead: list[int], clusters: list[list[int]]) -> Array:
    W = W.copy()
    W[dead] = 0
    for members in clusters:
        W[members] = W[members].mean(axis=0)
    return W


@pytest.fixture(scope="session")
def start(mlp: ModelProto) -> ModelProto:
    """The network of digits with dead and tied rows in both layers."""
    values = tensors(mlp)
    new = {
        "w1": structured(values["w1"], DEAD, TIED),
        "w2": structured(values["w2"], UNREAD, TIED_UNITS),
    }
    return tied(mlp, new, structure_of(mlp))


@pytest.fixture
def job(job_of: Callable[..., Job], mlp: ModelProto, digits: Dataset, tmp_path: Path) -> Job:
    return job_of(mlp, digits, tmp_path)


@pytest.fixture
def retraining(job: Job, start: ModelProto) -> Make:
    def make(model: ModelProto = start, epochs: int = 2) -> Retraining:
        return Retraining(model, job.values, job.trainer, job.recipe, epochs)

    return make


def raw(training: Retraining) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in training.network.tensors().items()}


def trained(training: Retraining) -> dict[str, Array]:
    while training.done < training.epochs:
        training.epoch()
    return training.network.tensors()


def test_before_training_the_network_computes_what_the_tied_file_does(
    retraining: Make, job: Job, start: ModelProto
) -> None:
    network = retraining().network.eval()
    with torch.no_grad():
        output = network(torch.from_numpy(job.samples[0]))
    assert isinstance(output, torch.Tensor)
    expected = predict(start, "logits", job.samples)
    assert output.numpy() == pytest.approx(expected, abs=1e-5)


def test_dead_rows_stay_exactly_zero(retraining: Make) -> None:
    values = trained(retraining())
    assert not values["w1"][DEAD].any()
    assert np.flatnonzero(~values["w1"].any(axis=1)).tolist() == DEAD


def test_tied_rows_stay_bitwise_equal_and_all_others_move_apart(retraining: Make) -> None:
    training = retraining()
    before = training.network.tensors()["w1"]
    W = trained(training)["w1"]
    for members in TIED:
        assert len({row.tobytes() for row in W[members]}) == 1
    assert len({row.tobytes() for row in W}) == 64 - len(DEAD) - 2 - 3 + 1
    moved = (before != W).any(axis=1)
    assert moved[TIED[0]].all()


def test_units_that_nobody_reads_are_not_trained_at_all(retraining: Make) -> None:
    shapes = {name: array.shape for name, array in retraining().network.tensors().items()}
    assert shapes == {"w1": (64, ALIVE), "b1": (ALIVE,), "w2": (ALIVE, 10), "b2": (10,)}


def test_a_layer_without_structure_is_trained_as_it_is(retraining: Make, mlp: ModelProto) -> None:
    training = retraining(tied(mlp, {"w2": tensors(mlp)["w2"]}, structure_of(mlp)))
    assert not training.network.layers
    assert (trained(training)["w1"] != tensors(mlp)["w1"]).any()


def test_the_gradient_of_a_row_of_the_table_is_the_sum_over_its_members(
    retraining: Make, job: Job, start: ModelProto
) -> None:
    training = retraining()
    index = next(job.trainer.batches(seed=0, epoch=0))
    training.optimizer.zero_grad()
    torch.autograd.backward(job.trainer.loss(training.network.train(), index))
    free = from_onnx(remove_dead_units(start), job.values).train()
    torch.autograd.backward(job.trainer.loss(free, index))
    whole = free.parameter("w1").grad
    table = training.network.tables[0].grad
    assert whole is not None
    assert table is not None
    places = training.network.get_buffer("places_0")
    expected = torch.zeros(len(table) + 1, ALIVE).index_add(0, places, whole)[:-1]
    assert table.numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    members = whole[TIED[0]].sum(0)
    assert members.abs().max() > 1e-4
    assert table[places[TIED[0][0]]].numpy() == pytest.approx(members.numpy(), abs=1e-6)


def test_the_rate_rises_for_a_tenth_of_the_steps_and_falls_to_nothing(retraining: Make) -> None:
    training = retraining(epochs=10)
    rates = []
    for _ in range(10 * training.trainer.steps):
        rates.append(training.optimizer.param_groups[0]["lr"])
        training.optimizer.step()
        training.schedule.step()
    top = rates.index(max(rates))
    assert top == pytest.approx(training.trainer.steps, abs=1)
    assert rates[top] == training.rate
    assert rates[0] == pytest.approx(training.rate / 25)
    assert sorted(rates[: top + 1]) == rates[: top + 1]
    assert sorted(rates[top:], reverse=True) == rates[top:]
    assert rates[-1] < training.rate / 1000


def test_the_weights_under_the_tables_get_no_gradient(retraining: Make) -> None:
    twin = retraining().network.twin
    assert [twin.parameter(name).requires_grad for name in ("w1", "w2", "b1", "b2")] == [
        False,
        False,
        True,
        True,
    ]


def test_a_restored_retraining_goes_on_bit_for_bit(retraining: Make, tmp_path: Path) -> None:
    whole = retraining(epochs=4)
    scores = [whole.epoch() for _ in range(4)]
    checkpoints = Checkpoints(tmp_path / "cut")
    first = retraining(epochs=4)
    early = [first.epoch() for _ in range(2)]
    checkpoints.save("point", first.state())
    second = retraining(epochs=4)
    state = checkpoints.load("point")
    assert state is not None
    second.restore(state)
    late = [second.epoch() for _ in range(2)]
    assert early + late == scores
    assert raw(second) == raw(whole)
    assert second.done == 4


def test_retraining_brings_back_what_tying_took(
    retraining: Make, job: Job, mlp: ModelProto
) -> None:
    values = tensors(mlp)
    pairs = [[row, row + 1] for row in range(0, 64, 2)]
    rough = tied(mlp, {"w1": structured(values["w1"], DEAD, pairs)}, structure_of(mlp))
    training = retraining(rough, epochs=6)
    before = job.trainer.right(training.network).mean()
    trained(training)
    assert job.trainer.right(training.network).mean() > before + 0.02


def test_narrow_and_widened_networks_compute_the_same(
    retraining: Make, job: Job, start: ModelProto
) -> None:
    values = trained(retraining())
    narrow = with_tensors(remove_dead_units(start), values)
    wide = tied(start, widen(start, job.structure, values), job.structure)
    outputs = [predict(model, "logits", job.splits.test.inputs) for model in (narrow, wide)]
    assert outputs[1] == pytest.approx(outputs[0], abs=1e-5)
    assert np.abs(outputs[0] - predict(start, "logits", job.splits.test.inputs)).max() > 1e-3


CONV = (
    "g (float[N, 8, 4, 4] x) => (float[N, 3] y)"
    "{ h = Conv (x, k, c) f = Flatten (h) y = Gemm <transB = 1> (f, w, b) }"
)


def tied_conv(fresh: Callable[..., ModelProto]) -> tuple[TiedTwin, dict[str, Array]]:
    model = fresh(CONV, k=(5, 8, 3, 3), c=(5,), w=(3, 20), b=(3,))
    k, w = tensors(model)["k"].copy(), tensors(model)["w"].copy()
    k[:, 2] = 0
    k[:, 4] = k[:, 6]
    w[:, 3] = w[:, 11]
    model = tied(model, {"k": k, "w": w}, structure_of(model))
    twin = from_onnx(model)
    layers = {
        layer.weight: (layer, to_rows(layer, tensors(model)[layer.weight]))
        for layer in structure_of(model).layers
    }
    return TiedTwin(twin, layers), {"k": k, "w": w}


def test_tables_make_kernels_and_transposed_weights_in_their_own_shapes(
    fresh: Callable[..., ModelProto],
) -> None:
    network, values = tied_conv(fresh)
    assert [len(table) for table in network.tables] == [6, 19]
    made = {name: weight.detach().numpy() for name, weight in network.weights().items()}
    assert {name: array.tobytes() for name, array in made.items()} == {
        name: array.tobytes() for name, array in values.items()
    }


def test_kernels_keep_their_structure_under_momentum(
    fresh: Callable[..., ModelProto],
) -> None:
    network, _ = tied_conv(fresh)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    x = torch.randn(6, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        output = network(x)
        assert isinstance(output, torch.Tensor)
        optimizer.zero_grad()
        torch.autograd.backward(output.square().mean())
        optimizer.step()
    values = network.tensors()
    assert not values["k"][:, 2].any()
    assert values["k"][:, 4].tobytes() == values["k"][:, 6].tobytes()
    assert values["w"][:, 3].tobytes() == values["w"][:, 11].tobytes()
