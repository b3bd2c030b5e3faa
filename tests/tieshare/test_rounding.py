import numpy as np
import pytest
import torch

from tieshare.rounding import BITS, codes, most, rounded
from tieshare.straight_through import UnitGrid

Array = np.ndarray


def weights(seed: int) -> tuple[Array, int]:
    """A float32 array of any shape and size of numbers, some of them zero, and a unit axis."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 20, size=rng.integers(1, 5)))
    W = (rng.normal(size=shape) * 10.0 ** rng.uniform(-30, 20)).astype(np.float32)
    W[rng.random(shape) < 0.2] = 0
    return W, int(rng.integers(-W.ndim, W.ndim))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("seed", range(20))
def test_rounding_in_torch_is_the_rounding_in_numpy_bit_for_bit(seed: int, bits: int) -> None:
    W, axis = weights(seed)
    grid = UnitGrid(bits, axis)
    assert grid(torch.from_numpy(W)).numpy().tobytes() == rounded(W, bits, axis).tobytes()


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("seed", range(20))
def test_rounding_twice_is_rounding_once(seed: int, bits: int) -> None:
    W, axis = weights(seed)
    once = rounded(W, bits, axis)
    assert rounded(once, bits, axis).tobytes() == once.tobytes()


@pytest.mark.parametrize("bits", [4, 8])
def test_every_unit_has_a_scale_and_its_largest_weight_is_on_the_last_step(bits: int) -> None:
    W = np.random.default_rng(0).normal(size=(30, 7, 3, 3)).astype(np.float32)
    W *= np.logspace(-3, 3, 7, dtype=np.float32).reshape(1, 7, 1, 1)
    q, scale = codes(W, bits, 1)
    assert scale.shape == (1, 7, 1, 1)
    assert np.abs(q).max(axis=(0, 2, 3)).tolist() == [most(bits)] * 7
    assert (np.abs(W - q * scale) <= 0.502 * scale).all()


def test_scales_have_as_many_digits_as_float16() -> None:
    _, scale = codes(np.random.default_rng(0).normal(size=(9, 50)).astype(np.float32), 8, 1)
    assert scale.astype(np.float16).astype(np.float32).tobytes() == scale.tobytes()


@pytest.mark.parametrize("bits", [4, 8])
def test_scaling_the_units_scales_what_they_are_rounded_to(bits: int) -> None:
    rng = np.random.default_rng(0)
    W = rounded(rng.normal(size=(40, 6)).astype(np.float32), bits, 1)
    s = rng.uniform(0.1, 9, size=6).astype(np.float32)
    assert codes(W * s, bits, 1)[0].tobytes() == codes(W, bits, 1)[0].tobytes()
    assert rounded(W * s, bits, 1) == pytest.approx(W * s, rel=5e-4)


def test_a_unit_of_zeros_stays_one_and_no_zero_is_negative() -> None:
    W = np.array([[-0.0, 0.001, 0], [-0.0, -1, 0]], np.float32)
    q, scale = codes(W, 4, 1)
    assert q.tolist() == [[0, 0, 0], [0, -7, 0]]
    assert scale[0, [0, 2]].tolist() == [1, 1]
    assert not np.signbit(rounded(W, 4, 1)).sum() > 1
    assert not np.signbit(rounded(W, 16, 1)[:, 0]).any()


def test_with_16_bits_a_weight_that_float16_has_no_room_for_stays() -> None:
    W = np.array([1e6, 1 / 3, 1e-12], np.float32)
    assert rounded(W, 16, 0).tolist() == [1e6, np.float32(np.float16(1 / 3)), 0]
