"""Quantisation that trains straight through: rounding passes the gradient, clipping stops it.

A dtype of few bits carries no gradient. So where one has to pass, the quantised values stay in
float32, which holds them all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from onnx import TensorProto, helper
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.dtypes import onnx_dtype, torch_dtype
from tieshare.twin.types import Builder, Operation


@dataclass(frozen=True)
class _Integers:
    """All integers from low to high."""

    low: int
    high: int
    over: None = None

    def nearest(self, x: Tensor, zero: Tensor | float) -> Tensor:
        """Of two as near to x the even one; it is moved by zero then."""
        return torch.round(x) + zero


@dataclass(frozen=True)
class _Floats:
    """Numbers up to high, with ``mantissa`` bits behind the point from 2^exponent on.

    ``over``  what a number above high becomes without saturation; None: it is clipped always.
    """

    mantissa: int
    exponent: int
    high: float
    over: float | None = None

    @property
    def low(self) -> float:
        return -self.high

    def nearest(self, x: Tensor, zero: Tensor | float) -> Tensor:
        """Of two as near to x + zero the one with an even mantissa."""
        x = x + zero
        exponent = torch.frexp(x).exponent - 1  # 2^exponent <= |x| < 2^(exponent + 1)
        step = torch.ldexp(torch.ones_like(x), exponent.clamp(min=self.exponent) - self.mantissa)
        return torch.round(x / step) * step


_NUMBERS: Mapping[int, _Integers | _Floats] = {
    TensorProto.INT2: _Integers(-2, 1),
    TensorProto.INT4: _Integers(-8, 7),
    TensorProto.INT8: _Integers(-128, 127),
    TensorProto.INT16: _Integers(-32768, 32767),
    TensorProto.UINT2: _Integers(0, 3),
    TensorProto.UINT4: _Integers(0, 15),
    TensorProto.UINT8: _Integers(0, 255),
    TensorProto.UINT16: _Integers(0, 65535),
    TensorProto.FLOAT4E2M1: _Floats(1, 0, 6.0),
    TensorProto.FLOAT6E2M3: _Floats(3, 0, 7.5),
    TensorProto.FLOAT6E3M2: _Floats(2, -2, 28.0),
    TensorProto.FLOAT8E4M3FN: _Floats(3, -6, 448.0, torch.nan),
    TensorProto.FLOAT8E4M3FNUZ: _Floats(3, -7, 240.0, torch.nan),
    TensorProto.FLOAT8E5M2: _Floats(2, -14, 57344.0, torch.inf),
    TensorProto.FLOAT8E5M2FNUZ: _Floats(2, -15, 57344.0, torch.nan),
}


def _quantize(node: Node) -> Operation:
    """y = clip(round(x / scale) + zero point)."""
    spread, numbers_of = _spread(node), _numbers_of(node)
    precision = node.setting("precision", default=0)
    saturates = node.setting("saturate", default=1) == 1

    def run(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        dtype = torch_dtype(precision) if precision else _wide(scale.dtype, x.dtype)
        quotient = x.to(dtype) / spread(scale.to(dtype), x)
        zero = 0.0 if zero_point is None else spread(zero_point.float(), x)
        return _quantized(quotient.float(), zero, numbers_of(zero_point), saturates=saturates)

    return run


def _quantized(x: Tensor, zero: Tensor | float, elem_type: int, *, saturates: bool) -> Tensor:
    """In the dtype of the element type, or in float32 where a gradient passes."""
    numbers = _NUMBERS[elem_type]
    near = numbers.nearest(x.detach(), zero)
    if x.requires_grad:
        near = near + (x - x.detach())
    if saturates or numbers.over is None:
        near = near.clamp(numbers.low, numbers.high)
    else:
        over = torch.copysign(torch.full_like(near, numbers.over), near)
        near = torch.where(near.abs() > numbers.high, over, near)
    return near if x.requires_grad else near.to(torch_dtype(elem_type))


def _numbers_of(node: Node) -> Callable[[Tensor | None], int]:
    """The element type that is quantised to: the attribute's, or the zero point's, or uint8."""
    known: int = node.setting("output_dtype", default=0)
    if not known and node.has(2):
        zero_point = node.known[2]
        if zero_point is None:
            return lambda given: TensorProto.UINT8 if given is None else onnx_dtype(given.dtype)
        known = helper.np_dtype_to_tensor_dtype(zero_point.dtype)
    return lambda _: known or TensorProto.UINT8


def _dequantize(node: Node) -> Operation:
    """y = (x - zero point) * scale."""
    spread = _spread(node)
    elem_type = node.setting("output_dtype", default=0)

    def run(x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor:
        dtype = torch_dtype(elem_type) if elem_type else _wide(scale.dtype, torch.float32)
        moved = x.float() if zero_point is None else x.float() - spread(zero_point.float(), x)
        return (moved * spread(scale.float(), x)).to(dtype)

    return run


def _spread(node: Node) -> Callable[[Tensor, Tensor], Tensor]:
    """Lines a scale or zero point up with x: it is one number, or one a channel, or a block."""
    axis, block = node.setting("axis", default=1), node.setting("block_size", default=0)

    def run(given: Tensor, x: Tensor) -> Tensor:
        if given.numel() == 1:
            return given.reshape(())
        if block:
            return given.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
        shape = [1] * x.dim()
        shape[axis] = -1
        return given.reshape(shape)

    return run


def _wide(dtype: torch.dtype, other: torch.dtype) -> torch.dtype:
    """The first that is a float of more than 8 bits; float32 is one."""
    return next(
        found
        for found in (dtype, other, torch.float32)
        if found.is_floating_point and found.itemsize > 1
    )


def _dynamic_quantize(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """To uint8, so that zero and all of x are in range."""
    low, high = x.amin().clamp(max=0), x.amax().clamp(min=0)
    width = high - low
    scale = width.masked_fill(width == 0, 1.0) / 255
    zero_point = torch.round((-low / scale).detach().clamp(0, 255))
    y = _quantized(x / scale, zero_point, TensorProto.UINT8, saturates=True)
    return y, scale, zero_point.to(torch.uint8)


BUILDERS: Mapping[str, Builder] = {
    "DequantizeLinear": _dequantize,
    "DynamicQuantizeLinear": lambda _: _dynamic_quantize,
    "QuantizeLinear": _quantize,
}
