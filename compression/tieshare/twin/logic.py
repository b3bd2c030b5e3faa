"""Comparisons, Booleans and bits."""

from collections.abc import Mapping

import torch
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.arithmetic import legacy
from tieshare.twin.types import Builder, Operation


def _bit_shift(node: Node) -> Operation:
    """Bits that leave the width of the dtype are lost; torch shifts wide unsigned ones as int64."""
    left = node.attributes["direction"] == "LEFT"

    def run(x: Tensor, y: Tensor) -> Tensor:
        if x.dtype == torch.uint8:
            return torch.bitwise_left_shift(x, y) if left else torch.bitwise_right_shift(x, y)
        bits, shift = x.to(torch.int64), y.to(torch.int64)
        if left:
            return (bits << shift).to(x.dtype)
        # An arithmetic shift copies the sign bit; the mask takes the copies away.
        mask = ~((torch.full_like(bits, -1) << (63 - shift)) << 1)
        return ((bits >> shift) & mask).to(x.dtype)

    return run


def _is_inf(node: Node) -> Operation:
    positive = node.setting("detect_positive", default=1)
    negative = node.setting("detect_negative", default=1)
    if positive and negative:
        return torch.isinf
    if positive:
        return torch.isposinf
    return torch.isneginf if negative else lambda x: torch.zeros_like(x, dtype=torch.bool)


BUILDERS: Mapping[str, Builder] = {
    "And": legacy(torch.logical_and),
    "BitShift": _bit_shift,
    "BitwiseAnd": lambda _: torch.bitwise_and,
    "BitwiseNot": lambda _: torch.bitwise_not,
    "BitwiseOr": lambda _: torch.bitwise_or,
    "BitwiseXor": lambda _: torch.bitwise_xor,
    "Equal": legacy(torch.eq),
    "Greater": legacy(torch.gt),
    "GreaterOrEqual": lambda _: torch.ge,
    "IsInf": _is_inf,
    "IsNaN": lambda _: torch.isnan,
    "Less": legacy(torch.lt),
    "LessOrEqual": lambda _: torch.le,
    "Not": lambda _: torch.logical_not,
    "Or": legacy(torch.logical_or),
    "Where": lambda _: torch.where,
    "Xor": legacy(torch.logical_xor),
}
