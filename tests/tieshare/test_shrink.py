import math
from typing import get_args

import numpy as np
import pytest
import torch

from tieshare.graph import Layer, to_rows
from tieshare.penalties import L1, PENALTIES, Matrix, Penalty, WeightDecay
from tieshare.recipe import PenaltyName
from tieshare.shrink import Rows, shrink, typical_size


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
    assert name not in ("growl", "group_lasso", "oscar", "slope") or 0 < alive.sum() < 9


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


def size(penalty: Penalty, weights: list[torch.Tensor], parts: list[Rows], groups: int) -> float:
    return typical_size(weights, parts, groups, penalty)


def test_a_threshold_is_in_the_units_of_what_it_is_compared_with() -> None:
    W, parts = [torch.tensor([[3.0, -4.0], [0.0, 1.0]])], [part((2, 2))]
    assert size(PENALTIES["growl"](2, 0.3), W, parts, 2) == 3.0  # norms 5 and 1
    assert size(L1(l2=0.3, strength=2.0), W, parts, 2) == pytest.approx(8 / 3)  # of what is not 0
    assert size(WeightDecay(l2=0.3), W, parts, 2) == pytest.approx(1.0, rel=1e-5)
    both = [torch.tensor([[3.0], [0.0]]), torch.tensor([[4.0], [1.0]])]
    assert size(PENALTIES["growl"](2, 0.0), both, [part((2, 1))] * 2, 2) == 3.0


@pytest.mark.parametrize("name", get_args(PenaltyName))
def test_weights_of_zero_have_a_size_too(name: PenaltyName) -> None:
    assert size(PENALTIES[name](2, 0.0), [torch.zeros(2, 2)], [part((2, 2))], 2) == 1.0


class Rowwise(Penalty):
    """Group lasso, written as somebody would who knows nothing of ordered rows."""

    def value(self, W: Matrix) -> float:
        return self.strength * float(np.linalg.norm(W, axis=1).sum())

    def prox(self, W: Matrix, step: float) -> Matrix:
        norms = np.linalg.norm(W, axis=1, keepdims=True)
        left = np.maximum(norms - step * self.strength, 0)
        shrunk: Matrix = W * np.divide(left, norms, out=np.zeros_like(norms), where=norms > 0)
        return shrunk


def test_a_penalty_of_any_class_is_used_as_the_ordered_ones_are() -> None:
    """Groups 0 and 2 have two rows of the first layer, group 3 none of it."""
    shapes, groups = [(5, 3), (3, 4, 2, 2)], [[0, 1, 2, 0, 2], [3, 1, 0, 2]]
    parts = [part(shape, places) for shape, places in zip(shapes, groups, strict=True)]
    ordered, rowwise = [drawn(*s) for s in shapes], [drawn(*s) for s in shapes]
    known = PENALTIES["group_lasso"](4, 0.0)
    assert size(Rowwise(), rowwise, parts, 4) == pytest.approx(size(known, ordered, parts, 4))
    norms = [float(drawn(5, 3)[[0, 3]].norm()), float(drawn(3, 4, 2, 2)[:, 2].norm())]
    strength = math.hypot(*norms) * 1.01  # group 0 dies
    first = shrink(ordered, parts, known.at(strength), step=1.0, alive=all_of(4))
    second = shrink(rowwise, parts, Rowwise(strength=strength), step=1.0, alive=all_of(4))
    assert first.tolist() == second.tolist()
    assert not first[0]
    for one, other in zip(ordered, rowwise, strict=True):
        assert one.numpy() == pytest.approx(other.numpy(), abs=1e-6)


@pytest.mark.parametrize("name", get_args(PenaltyName))
def test_rows_of_one_group_that_are_equal_stay_equal_bit_for_bit(name: PenaltyName) -> None:
    weight = drawn(3, 9, 2, 2)
    weight[:, [1, 4, 8]] = weight[:, [0]]
    rows = part((3, 9, 2, 2), [0, 0, 1, 2, 0, 3, 4, 5, 0])
    penalty = PENALTIES[name](6, 0.3).at(0.7)
    alive = shrink([weight], [rows], penalty, step=0.5, alive=all_of(6))
    assert len({weight[:, row].numpy().tobytes() for row in (0, 1, 4, 8)}) == 1
    assert weight[:, 0].any() == alive[0]
