"""Constants that a graph computes among the stored tensors."""

from collections.abc import Callable

import numpy as np
from onnx import ModelProto

from tieshare.exports.shared import shared
from tieshare.exports.stored import store_constants
from tieshare.exports.verify import differences
from tieshare.graph.tensors import tensors

Make = Callable[[str], ModelProto]

HEADER = '<ir_version: 8, opset_import: ["" : 17]>'
NORM = "float[4] g, float[4] b, float[4] m, float[4] var"


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_a_bias_that_is_spread_from_one_number_is_stored(from_text: Make) -> None:
    model = from_text(f"""{HEADER}
        spread (float[N, 3, 5, 5] x) => (float[N, 4, 5, 5] y)
        <float[4, 3, 1, 1] w, float two = {{2}}> {{
            units = Shape <start = 0, end = 1> (w)
            like = CastLike (two, x)
            bias = Expand (like, units)
            y = Conv (x, w, bias)
        }}""")
    made = store_constants(model)
    assert operators(made) == ["Conv"]
    np.testing.assert_array_equal(tensors(made)["bias"], np.full(4, 2, dtype=np.float32))
    assert differences(model, made)["y"] < 1e-6


def test_batch_norm_behind_such_a_bias_is_folded(from_text: Make) -> None:
    model = from_text(f"""{HEADER}
        norm (float[N, 3, 5, 5] x) => (float[N, 4, 5, 5] y)
        <float[4, 3, 1, 1] w, {NORM}, float zero = {{0}}> {{
            units = Shape <start = 0, end = 1> (w)
            bias = Expand (zero, units)
            h = Conv (x, w, bias)
            y = BatchNormalization (h, g, b, m, var)
        }}""")
    assert operators(shared(model).model) == ["Conv"]


def test_what_is_made_from_a_weight_stays_computed(from_text: Make) -> None:
    model = from_text(f"""{HEADER}
        turned (float[N, 3] x) => (float[N, 4] y) <float[4, 3] w> {{
            t = Transpose (w)
            y = MatMul (x, t)
        }}""")
    assert operators(store_constants(model)) == ["Transpose", "MatMul"]


def test_what_would_take_more_room_stays_computed(from_text: Make) -> None:
    model = from_text(f"""{HEADER}
        large (float[N, 2000] x) => (float[N, 2000] y)
        <float one = {{1}}, int64[1] many = {{2000}}> {{
            ones = Expand (one, many)
            y = Add (x, ones)
        }}""")
    assert operators(store_constants(model)) == ["Expand", "Add"]
