import numpy as np
import pytest
import torch
from torch import Tensor

from tieshare.rounding import rounded
from tieshare.straight_through import Codebook, UnitGrid, Units, fitted, grid_of


@pytest.fixture
def weight() -> Tensor:
    W = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    W[::5] = 0
    return W


def test_the_gradient_of_a_rounded_weight_is_that_of_the_weight(weight: Tensor) -> None:
    for grid in (UnitGrid(4, 1), Codebook(fitted(weight))):
        exact = weight.clone().requires_grad_()
        out = grid(exact)
        factor = torch.arange(out.numel()).reshape(out.shape).float()
        torch.autograd.backward((out * factor).sum())
        assert exact.grad is not None
        assert exact.grad.equal(factor)


def test_a_codebook_leaves_16_values_that_float16_holds_and_zeros_stay_zero(
    weight: Tensor,
) -> None:
    grid = Codebook(fitted(weight))
    for _ in range(5):
        grid(weight)
    out = grid.eval()(weight)
    assert len(out.unique()) == 16
    assert out.half().float().equal(out)
    assert not out[::5].any()


def test_a_codebook_of_the_same_size_loses_a_fifth_less_than_equal_steps(
    weight: Tensor,
) -> None:
    grid, steps = Codebook(fitted(weight)), UnitGrid(4, 1)
    lost = [float((weight - out(weight)).square().mean().sqrt()) for out in (grid, steps)]
    assert lost[0] < 0.8 * lost[1]


def test_the_values_follow_the_weights_in_training_and_rest_in_evaluation(weight: Tensor) -> None:
    grid = Codebook(fitted(weight))
    before = grid.get_buffer("values").clone()
    grid.eval()(1.1 * weight)
    assert grid.get_buffer("values").equal(before)
    grid.train()
    for _ in range(40):
        grid(1.1 * weight)
    assert grid.get_buffer("values").numpy() == pytest.approx(1.1 * before.numpy(), rel=0.2)
    assert (grid.get_buffer("values").diff() > 0).all()


def test_a_weight_of_zeros_or_of_few_numbers_can_be_rounded() -> None:
    zeros = torch.zeros(4, 3)
    assert Codebook(fitted(zeros))(zeros).equal(zeros)
    few = torch.tensor([[0.5, -2.0], [0.0, 3.0]])
    assert Codebook(fitted(few)).eval()(few).numpy() == pytest.approx(few.numpy(), rel=0.1)


def test_what_a_batch_norm_will_scale_has_equal_steps_and_more_bits_too(weight: Tensor) -> None:
    for bits, units in ((4, Units(1, scaled=True)), (8, Units(1, scaled=False))):
        out = grid_of(weight, bits, units)(weight).numpy()
        assert out.tobytes() == rounded(weight.numpy(), bits, 1).tobytes()
    assert len(np.unique(grid_of(weight, 4, Units(1, scaled=False))(weight).numpy())) == 16


def test_large_weights_are_fitted_on_some_of_their_numbers() -> None:
    W = torch.randn(1 << 18, generator=torch.Generator().manual_seed(1))
    out = Codebook(fitted(W)).eval()(W)
    assert float((W - out).square().mean().sqrt()) < 0.13
