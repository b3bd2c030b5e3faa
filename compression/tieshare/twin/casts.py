"""Changes of dtype."""

from collections.abc import Callable, Mapping

import torch
from onnx import TensorProto
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.dtypes import torch_dtype
from tieshare.twin.types import Builder, Operation

_Convert = Callable[[Tensor, torch.dtype], Tensor]

_SMALLEST = 2.0**-127  # of float8_e8m0fnu, which has no zero

# Whole numbers that are kept in a byte.
_BITS: Mapping[int, int] = {
    TensorProto.INT2: 2,
    TensorProto.INT4: 4,
    TensorProto.UINT2: 2,
    TensorProto.UINT4: 4,
}


def _cast(node: Node) -> Operation:
    element = node.attributes["to"]
    dtype = torch_dtype(element)
    if element in _BITS:
        bits = _BITS[element]
        return lambda x: _lowest(x.to(dtype), bits)
    if element == TensorProto.FLOAT4E2M1:
        return _to_float4
    convert = _conversions(node).get(dtype)
    if convert is None:
        return lambda x: x.to(dtype)
    return lambda x: convert(x, dtype)


def _cast_like(node: Node) -> Operation:
    conversions = _conversions(node)

    def run(x: Tensor, like: Tensor) -> Tensor:
        convert = conversions.get(like.dtype)
        return x.to(like.dtype) if convert is None else convert(x, like.dtype)

    return run


def _conversions(node: Node) -> Mapping[torch.dtype, _Convert]:
    """To the dtypes for which ONNX asks for more than the nearest number."""
    saturates = node.setting("saturate", default=1) == 1
    float8: _Convert = _saturated if saturates else _overflowing
    return {
        torch.float8_e4m3fn: float8,
        torch.float8_e4m3fnuz: float8,
        torch.float8_e5m2: float8,
        torch.float8_e5m2fnuz: float8,
        torch.float8_e8m0fnu: _powers_of_two(node.setting("round_mode", default="up"), saturates),
    }


def _saturated(x: Tensor, dtype: torch.dtype) -> Tensor:
    largest = torch.finfo(dtype).max
    return x.clamp(-largest, largest).to(dtype)


def _overflowing(x: Tensor, dtype: torch.dtype) -> Tensor:
    """To infinity, or to NaN where the dtype has none."""
    if dtype == torch.float8_e4m3fn:
        # What lies less than half a step above its largest number, 448, is rounded down.
        x = x.masked_fill(x.abs() > 464, torch.nan)
    return x.to(dtype)


def _powers_of_two(rounding: str, saturates: bool) -> _Convert:
    """float8_e8m0fnu holds nothing but an exponent."""

    def run(x: Tensor, dtype: torch.dtype) -> Tensor:
        part, exponent = torch.frexp(x.float())  # x = part 2^exponent, part from 0.5 to below 1
        above = {"up": part > 0.5, "nearest": part >= 0.75, "down": part >= 1}[rounding]
        power = torch.ldexp(torch.ones_like(part), exponent - 1 + above.int())
        power = torch.where(part == 0, _SMALLEST, torch.where(x.isfinite(), power, x.float()))
        return (_saturated if saturates else _overflowing)(power, dtype)

    return run


def _lowest(x: Tensor, bits: int) -> Tensor:
    """The others are lost; of signed numbers the highest that is left is the sign."""
    return (x << (8 - bits)) >> (8 - bits)


def _to_float4(x: Tensor) -> Tensor:
    """The numbers up to 6 that have one bit behind the first; kept in float32."""
    size = x.float().abs().clamp(max=6).nan_to_num(0.0)
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return torch.copysign((size / step).round() * step, x.float())


def _bit_cast(node: Node) -> Operation:
    dtype = torch_dtype(node.attributes["to"])
    return lambda x: x.view(dtype)


BUILDERS: Mapping[str, Builder] = {
    "BitCast": _bit_cast,
    "Cast": _cast,
    "CastLike": _cast_like,
}
