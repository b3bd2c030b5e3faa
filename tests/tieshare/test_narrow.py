"""What is computed without dead units is what the whole twin computes, gradients included."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from onnx import ModelProto
from torch import Tensor

from tieshare.exports.units import cut, staying
from tieshare.graph.structure import Structure, structure_of
from tieshare.narrow import Narrowing
from tieshare.twin import Twin, from_onnx

Samples = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(params=["lenet5", "mobilenet", "resnet18", "densenet", "shufflenet", "vit"])
def model(request: pytest.FixtureRequest, zoo: Callable[[str], ModelProto]) -> ModelProto:
    return zoo(f"{request.param}-dynamo-free")


@torch.no_grad()
def kill(twin: Twin, structure: Structure, part: float = 0.5) -> None:
    """Nobody reads so many of the units any more."""
    dead = np.random.default_rng(0).random(structure.units) < part
    for layer in structure.layers:
        rows = structure.rows_of(layer)
        if rows is not None:
            gone = torch.from_numpy(dead[rows.ids].any(1) & (rows.ids >= 0).all(1))
            twin.parameter(layer.weight).movedim(layer.row_axis, 0)[gone] = 0


def values(twin: Twin) -> dict[str, np.ndarray]:
    return {name: array for name, array in twin.tensors().items() if name in twin.names}


def gradients(twin: Twin, network: torch.nn.Module, inputs: list[Tensor]) -> dict[str, np.ndarray]:
    twin.zero_grad()
    answer = network(*inputs)
    outputs = answer if isinstance(answer, tuple) else (answer,)
    sum(output.square().sum() for output in outputs).backward()
    found = {name: twin.parameter(name).grad for name in twin.names}
    return {name: grad.numpy().copy() for name, grad in found.items() if grad is not None}


def close(found: np.ndarray, expected: np.ndarray) -> None:
    scale = np.abs(expected).max() + 1e-6
    np.testing.assert_allclose(found / scale, expected / scale, atol=2e-4)


def test_outputs_and_gradients_of_what_is_left_are_the_same(
    model: ModelProto, samples: Samples
) -> None:
    twin, structure = from_onnx(model), structure_of(model)
    kill(twin, structure)
    inputs = [torch.from_numpy(array) for array in samples(model, 3).values()]
    whole = twin(*inputs).detach().numpy()
    expected = gradients(twin, twin, inputs)
    narrowing = Narrowing(twin)
    assert narrowing.network is twin
    narrowing.follow(values(twin))
    narrow = narrowing.network.eval()
    assert narrow is not twin
    assert sum(w.numel() for w in narrow.parameters()) < sum(w.numel() for w in twin.parameters())
    close(narrow(*inputs).detach().numpy(), whole)
    masks = staying(structure, values(twin))
    for name, found in gradients(twin, narrow, inputs).items():
        left = masks.get(name, {})
        close(cut(found, left), cut(expected[name], left))


def test_running_statistics_of_what_is_left_move_and_the_others_stay(
    zoo: Callable[[str], ModelProto], samples: Samples
) -> None:
    model = zoo("vgg-script-unfolded")
    twins = [from_onnx(model) for _ in range(2)]
    structure = structure_of(model)
    for twin in twins:
        kill(twin, structure)
    before = {name: twins[0].statistic(name).numpy().copy() for name in twins[0].statistics}
    assert before
    narrowing = Narrowing(twins[0])
    narrowing.follow(values(twins[0]))
    inputs = [torch.from_numpy(array) for array in samples(model, 4).values()]
    narrowing.network.train()(*inputs)
    twins[1].train()(*inputs)
    masks = staying(structure, values(twins[0]))
    for name, was in before.items():
        left = masks.get(name, {}).get(0, np.ones(len(was), dtype=bool))
        found = twins[0].statistic(name).numpy()
        close(found[left], twins[1].statistic(name).numpy()[left])
        assert np.array_equal(found[~left], was[~left])


def test_a_few_dead_units_are_not_worth_it_and_what_is_left_out_survives_a_crash(
    zoo: Callable[[str], ModelProto],
) -> None:
    model = zoo("lenet5-dynamo-free")
    twin, structure = from_onnx(model), structure_of(model)
    narrowing = Narrowing(twin)
    kill(twin, structure, 0.02)
    narrowing.follow(values(twin))
    assert narrowing.network is twin
    assert narrowing.state() is None
    kill(twin, structure, 0.5)
    narrowing.follow(values(twin))
    again = Narrowing(twin)
    again.restore(narrowing.state())
    sizes = [[w.shape for w in it.network.parameters()] for it in (narrowing, again)]
    assert sizes[0] == sizes[1]
    again.restore(None)
    assert again.network is twin
