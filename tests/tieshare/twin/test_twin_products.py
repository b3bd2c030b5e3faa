"""Gemm, MatMul and Einsum in the twin."""

from collections.abc import Callable

import numpy as np
import pytest

Check = Callable[..., None]
Sizes = tuple[int, ...]


def draw(**shapes: Sizes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize("opset", [7, 9, 11, 13])
@pytest.mark.parametrize("shape", [(), (4,), (1, 4), (3, 1), (3, 4)])
def test_gemm_adds_whatever_broadcasts_in_every_opset(
    agree: Check, opset: int, shape: Sizes
) -> None:
    agree(opset, "y = Gemm (a, b, c)", draw(a=(3, 5), b=(5, 4), c=shape))


def test_gemm_turns_and_scales_its_inputs(agree: Check, differentiate: Check) -> None:
    nodes = "y = Gemm <alpha = 0.5, beta = 2.0, transA = 1, transB = 1> (a, b, c)"
    inputs = draw(a=(5, 3), b=(4, 5), c=(3, 1))
    agree(13, nodes, inputs)
    differentiate(13, nodes, inputs)


def test_gemm_needs_nothing_to_add_from_opset_11_on(agree: Check) -> None:
    inputs = draw(a=(3, 5), b=(5, 4))
    agree(11, "y = Gemm (a, b)", inputs)
    agree(11, "y = Gemm <alpha = 0.5> (a, b)", inputs)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3, 6, 5), (5, 4)),
        ((4, 6), (2, 3, 6, 5)),
        ((2, 1, 6, 5), (3, 5, 4)),
        ((5,), (5, 4)),
        ((3, 5), (5,)),
        ((5,), (5,)),
    ],
)
@pytest.mark.parametrize("opset", [7, 13])
def test_matmul_takes_matrices_and_vectors_on_either_side(
    agree: Check, opset: int, a: Sizes, b: Sizes
) -> None:
    agree(opset, "y = MatMul (a, b)", draw(a=a, b=b))


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("...ij,jk", [(2, 3, 4), (4, 5)]),
        (" bhwc , hkc -> bhwk ", [(2, 3, 4, 5), (3, 6, 5)]),
        ("ii->i", [(4, 4)]),
        ("ij->", [(3, 4)]),
        ("ba", [(3, 4)]),
        ("ij,jk,kl->il", [(3, 4), (4, 5), (5, 2)]),
        ("ij,ij->ij", [(3, 4), (3, 1)]),
    ],
)
def test_einsum_sums_what_its_equation_says(
    agree: Check, differentiate: Check, equation: str, shapes: list[Sizes]
) -> None:
    inputs = draw(**{f"x{index}": shape for index, shape in enumerate(shapes)})
    nodes = f'y = Einsum <equation = "{equation}"> ({", ".join(inputs)})'
    agree(12, nodes, inputs)
    differentiate(12, nodes, inputs)
