"""The rules that follow units through a graph; behind an operator without one all stay."""

from collections.abc import Callable, Mapping, Sequence

from tieshare.graph.flow import (
    attention,
    convolution,
    elementwise,
    normalise,
    pieces,
    products,
    recurrent,
    reduce,
    rotary,
    shapes,
)
from tieshare.graph.flow.values import Value
from tieshare.graph.flow.walk import Crossing

Rule = Callable[[Crossing], Sequence[Value]]

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(elementwise.UNARY, elementwise.unary),
    **dict.fromkeys(elementwise.BROADCAST, elementwise.broadcast),
    # products
    "Attention": attention.attention,
    "Conv": convolution.conv,
    "ConvTranspose": convolution.conv_transpose,
    "Einsum": products.einsum,
    "GRU": recurrent.recurrent,
    "Gemm": products.gemm,
    "LSTM": recurrent.recurrent,
    "MatMul": products.matmul,
    "RNN": recurrent.recurrent,
    # what mixes some axes
    **dict.fromkeys(
        ("AveragePool", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "LpPool", "MaxPool"),
        reduce.window,
    ),
    **dict.fromkeys(
        (
            *("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax"),
            *("ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"),
        ),
        reduce.reduction,
    ),
    **dict.fromkeys(
        ("CumProd", "CumSum", "Hardmax", "LogSoftmax", "LpNormalization", "Softmax"),
        reduce.along_axis,
    ),
    "BatchNormalization": normalise.batch_norm,
    "GroupNormalization": normalise.group_norm,
    "InstanceNormalization": normalise.instance_norm,
    "LRN": normalise.fixed_axes,
    "LayerNormalization": normalise.layer_norm,
    "MeanVarianceNormalization": normalise.fixed_axes,
    "RMSNormalization": normalise.layer_norm,
    "RotaryEmbedding": rotary.rotary,
    # pieces
    "Concat": pieces.concat,
    "Gather": pieces.gather,
    "Pad": pieces.pad,
    "Slice": pieces.slice_,
    "Split": pieces.split,
    # shapes
    "ConstantOfShape": shapes.constant_of_shape,
    "DepthToSpace": shapes.depth_to_space,
    "Expand": shapes.expand,
    "Flatten": shapes.keep_elements,
    "Reshape": shapes.reshape,
    "Resize": shapes.resize,
    "SpaceToDepth": shapes.space_to_depth,
    "Squeeze": shapes.keep_elements,
    "Tile": shapes.tile,
    "Transpose": shapes.transpose,
    "Trilu": shapes.triangle,
    "Unsqueeze": shapes.keep_elements,
    "Upsample": shapes.resize,
}
"""Operator -> its rule."""

STATE_LENGTHS = frozenset(
    {"ConstantOfShape", "Expand", "Pad", "Reshape", "Resize", "Slice", "Split"}
)
"""Operators whose rules deal with lengths of axes among their inputs; others fix them."""

MAKE_UNITS = frozenset({"ConstantOfShape", "Expand"})
"""Operators behind which axes may have owners though none of their inputs has."""
