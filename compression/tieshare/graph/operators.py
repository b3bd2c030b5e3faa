"""The operators that training can pass through: all of ONNX but text, sequences and chance."""

from collections.abc import Mapping
from dataclasses import dataclass

OLDEST_OPSET = 6


@dataclass(frozen=True)
class Operator:
    """What the twin asks of a node.

    ``since``     the first opset that is understood, and all after it are.
    ``settings``  inputs that are options or measured, not weights: training leaves them alone.
    """

    since: int = OLDEST_OPSET
    settings: tuple[int, ...] = ()


OPERATORS: Mapping[str, Operator] = {
    # products with weights
    "Conv": Operator(),
    "ConvTranspose": Operator(),
    "CausalConvWithState": Operator(since=27),
    "Col2Im": Operator(since=18),
    "DeformConv": Operator(since=19),
    "Einsum": Operator(since=12),
    "Gemm": Operator(),
    "MatMul": Operator(),
    # recurrent cells
    "GRU": Operator(),
    "LSTM": Operator(),
    "RNN": Operator(),
    # attention
    "Attention": Operator(since=23),
    "LinearAttention": Operator(since=27),
    "RotaryEmbedding": Operator(since=23),
    # activations
    "Celu": Operator(since=12),
    "Clip": Operator(settings=(1, 2)),
    "Elu": Operator(),
    "Erf": Operator(since=9),
    "Gelu": Operator(since=20),
    "HardSigmoid": Operator(),
    "HardSwish": Operator(since=14),
    "Hardmax": Operator(),
    "LeakyRelu": Operator(),
    "LogSoftmax": Operator(),
    "Mish": Operator(since=18),
    "PRelu": Operator(),
    "Relu": Operator(),
    "Selu": Operator(),
    "Shrink": Operator(since=9),
    "Sigmoid": Operator(),
    "Softmax": Operator(),
    "Softplus": Operator(),
    "Softsign": Operator(),
    "SwiGLU": Operator(since=28),
    "Swish": Operator(since=24),
    "Tanh": Operator(),
    "ThresholdedRelu": Operator(since=10),
    # normalisation
    "BatchNormalization": Operator(settings=(3, 4)),
    "Dropout": Operator(settings=(1, 2)),
    "GroupNormalization": Operator(since=21),
    "InstanceNormalization": Operator(),
    "LRN": Operator(),
    "LayerNormalization": Operator(since=17),
    "LpNormalization": Operator(),
    "MeanVarianceNormalization": Operator(since=9),
    "RMSNormalization": Operator(since=23),
    # pooling
    "AveragePool": Operator(),
    "GlobalAveragePool": Operator(),
    "GlobalLpPool": Operator(),
    "GlobalMaxPool": Operator(),
    "LpPool": Operator(),
    "MaxPool": Operator(),
    "MaxRoiPool": Operator(settings=(1,)),
    "MaxUnpool": Operator(since=9, settings=(1, 2)),
    "RoiAlign": Operator(since=10, settings=(1, 2)),
    # reductions
    "ArgMax": Operator(),
    "ArgMin": Operator(),
    "CumProd": Operator(since=26),
    "CumSum": Operator(since=11),
    "ReduceL1": Operator(),
    "ReduceL2": Operator(),
    "ReduceLogSum": Operator(),
    "ReduceLogSumExp": Operator(),
    "ReduceMax": Operator(),
    "ReduceMean": Operator(),
    "ReduceMin": Operator(),
    "ReduceProd": Operator(),
    "ReduceSum": Operator(),
    "ReduceSumSquare": Operator(),
    "TopK": Operator(settings=(1,)),
    # arithmetic
    "Abs": Operator(),
    "Acos": Operator(since=7),
    "Acosh": Operator(since=9),
    "Add": Operator(),
    "Asin": Operator(since=7),
    "Asinh": Operator(since=9),
    "Atan": Operator(since=7),
    "Atanh": Operator(since=9),
    "Ceil": Operator(),
    "Cos": Operator(since=7),
    "Cosh": Operator(since=9),
    "Det": Operator(since=11),
    "Div": Operator(),
    "Exp": Operator(),
    "Floor": Operator(),
    "Log": Operator(),
    "Max": Operator(),
    "Mean": Operator(),
    "Min": Operator(),
    "Mod": Operator(since=10),
    "Mul": Operator(),
    "Neg": Operator(),
    "Pow": Operator(),
    "Reciprocal": Operator(),
    "Round": Operator(since=11),
    "Sign": Operator(since=9),
    "Sin": Operator(since=7),
    "Sinh": Operator(since=9),
    "Sqrt": Operator(),
    "Sub": Operator(),
    "Sum": Operator(),
    "Tan": Operator(since=7),
    "ai.onnx.ml.Scaler": Operator(since=1),
    # logic
    "And": Operator(),
    "BitShift": Operator(since=11),
    "BitwiseAnd": Operator(since=18),
    "BitwiseNot": Operator(since=18),
    "BitwiseOr": Operator(since=18),
    "BitwiseXor": Operator(since=18),
    "Equal": Operator(),
    "Greater": Operator(),
    "GreaterOrEqual": Operator(since=12),
    "IsInf": Operator(since=10),
    "IsNaN": Operator(since=9),
    "Less": Operator(),
    "LessOrEqual": Operator(since=12),
    "Not": Operator(),
    "Or": Operator(),
    "Where": Operator(since=9),
    "Xor": Operator(),
    # shapes
    "BitCast": Operator(since=26),
    "Cast": Operator(),
    "CastLike": Operator(since=15),
    "Concat": Operator(),
    "ConstantOfShape": Operator(since=9),
    "DepthToSpace": Operator(),
    "Expand": Operator(since=8),
    "EyeLike": Operator(since=9),
    "Flatten": Operator(),
    "Identity": Operator(),
    "Range": Operator(since=11, settings=(0, 1, 2)),
    "Reshape": Operator(),
    "Shape": Operator(),
    "Size": Operator(),
    "Slice": Operator(),
    "SpaceToDepth": Operator(),
    "Split": Operator(),
    "Squeeze": Operator(),
    "Tile": Operator(),
    "Transpose": Operator(),
    "Unsqueeze": Operator(),
    # indexing
    "Compress": Operator(since=9),
    "Gather": Operator(),
    "GatherElements": Operator(since=11),
    "GatherND": Operator(since=11),
    "NonZero": Operator(since=9),
    "OneHot": Operator(since=9, settings=(1, 2)),
    "ReverseSequence": Operator(since=10),
    "Scatter": Operator(since=9),
    "ScatterElements": Operator(since=11),
    "ScatterND": Operator(since=11),
    "TensorScatter": Operator(since=24),
    "Trilu": Operator(since=14),
    "Unique": Operator(since=11),
    # images
    "AffineGrid": Operator(since=20),
    "CenterCropPad": Operator(since=18),
    "GridSample": Operator(since=16),
    "Pad": Operator(settings=(1, 2, 3)),
    "Resize": Operator(since=10, settings=(1, 2, 3)),
    "Upsample": Operator(settings=(1,)),
    # signals
    "BlackmanWindow": Operator(since=17),
    "DFT": Operator(since=17),
    "HammingWindow": Operator(since=17),
    "HannWindow": Operator(since=17),
    "MelWeightMatrix": Operator(since=17, settings=(0, 1, 2, 3, 4)),
    "STFT": Operator(since=17),
    # quantisation
    "DequantizeLinear": Operator(since=10, settings=(1, 2)),
    "DynamicQuantizeLinear": Operator(since=11),
    "QuantizeLinear": Operator(since=10, settings=(1, 2)),
    # losses
    "NegativeLogLikelihoodLoss": Operator(since=12, settings=(2,)),
    "SoftmaxCrossEntropyLoss": Operator(since=12, settings=(2,)),
    # control flow
    "If": Operator(settings=(0,)),
    "Loop": Operator(settings=(0, 1)),
    "Scan": Operator(since=8),
}

# They give whole numbers, truth values, or steps with nothing in between.
WITHOUT_GRADIENT = frozenset(
    {
        *("And", "ArgMax", "ArgMin", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot"),
        *("BitwiseOr", "BitwiseXor", "BlackmanWindow", "Ceil", "Constant", "Equal", "EyeLike"),
        *("Floor", "Greater", "GreaterOrEqual", "HammingWindow", "HannWindow", "Hardmax", "IsInf"),
        *("IsNaN", "Less", "LessOrEqual", "MelWeightMatrix", "NonZero", "Not", "Or", "Range"),
        *("Round", "Shape", "Sign", "Size", "Xor"),
    }
)
