"""Products with weights."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation
from tieshare.twin.windows import window

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _conv(node: Node) -> Operation:
    slide = window(node)
    run_plain = _CONVOLUTIONS[len(slide.size)]
    groups = node.setting("group", default=1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        before, after = slide.padding(x.shape[2:])
        if before != after:
            x, before = slide.padded(x), slide.none
        return run_plain(x, weight, bias, slide.stride, before, slide.dilation, groups)

    return run


def _gemm(node: Node) -> Operation:
    """alpha A' B' + beta C."""
    alpha, beta = node.setting("alpha", default=1.0), node.setting("beta", default=1.0)
    turned_a = node.setting("transA", default=0) == 1
    turned_b = node.setting("transB", default=0) == 1

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if turned_a else a
        b = b.t() if turned_b else b
        if c is None:
            return a @ b if alpha == 1 else alpha * (a @ b)
        return torch.addmm(c, a, b, beta=beta, alpha=alpha)

    return run


BUILDERS: Mapping[str, Builder] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": lambda _: torch.matmul,
}
