"""Products with weights."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation


def _gemm(node: Node) -> Operation:
    """alpha A' B' + beta C."""
    alpha, beta = node.setting("alpha", default=1.0), node.setting("beta", default=1.0)
    turned_a = node.setting("transA", default=0) == 1
    turned_b = node.setting("transB", default=0) == 1
    add = torch.addmm if alpha == beta == 1 else partial(torch.addmm, beta=beta, alpha=alpha)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if turned_a else a
        b = b.t() if turned_b else b
        if c is None:
            return a @ b if alpha == 1 else alpha * (a @ b)
        return add(c, a, b)

    return run


def _einsum(node: Node) -> Operation:
    return partial(torch.einsum, node.attributes["equation"])


BUILDERS: Mapping[str, Builder] = {
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": lambda _: torch.matmul,
}
