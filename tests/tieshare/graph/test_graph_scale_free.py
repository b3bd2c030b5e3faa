from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper, parser

from tieshare.graph.scale_free import ScaleFree, scale_free
from tieshare.graph.view import view

IMAGE = "g (float[N,4,6,6] x) => (float[N,4,6,6] y)"
NORM = "BatchNormalization(h, s, t, m, v)"
FOUND = ScaleFree("w", None, "m", "v")


def model(text: str, bias: bool = False) -> ModelProto:
    made = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    stored: dict[str, tuple[int, ...]] = {"w": (4, 4, 1, 1), **dict.fromkeys("stmv", (4,))}
    stored |= {"b": (4,)} if bias else {}
    for name, shape in stored.items():
        made.graph.initializer.append(
            numpy_helper.from_array(np.ones(shape, dtype=np.float32), name)
        )
    return made


@pytest.fixture
def found() -> Callable[..., tuple[ScaleFree, ...]]:
    return lambda *given, **options: scale_free(view(model(*given, **options)))


Find = Callable[..., tuple[ScaleFree, ...]]


def test_the_weight_before_a_batch_norm_is_scale_free(found: Find) -> None:
    assert found(f"{IMAGE} {{ h = Conv(x, w) y = {NORM} }}") == (FOUND,)


def test_its_bias_goes_with_it(found: Find) -> None:
    text = f"{IMAGE} {{ h = Conv(x, w, b) y = {NORM} }}"
    assert found(text, bias=True) == (ScaleFree("w", "b", "m", "v"),)


def test_zeros_that_torch_spreads_over_the_units_are_no_bias(found: Find) -> None:
    """As its exporter writes a convolution without one; asking for a shape is no use."""
    text = f"""{IMAGE} {{
        zero = Constant <value = float {{0.0}}> () size = Shape <end = 1> (w)
        like = CastLike(zero, x) b0 = Expand(like, size) h = Conv(x, w, b0) y = {NORM}
    }}"""
    assert found(text) == (FOUND,)
    assert found(text.replace("{0.0}", "{0.5}")) == ()


@pytest.mark.parametrize(
    "text",
    [
        f"{IMAGE} {{ h = Conv(x, w) n = {NORM} y = Add(n, h) }}",
        f"{IMAGE} {{ k = Conv(x, w) h = Relu(k) y = {NORM} }}",
        f"{IMAGE} {{ h = Conv(x, w) n = {NORM} y = Conv(n, w) }}",
        f"{IMAGE} {{ h = Conv(x, w) n = {NORM} y = Add(n, m) }}",
        f"{IMAGE} {{ h = Conv(x, w) y = InstanceNormalization(h, s, t) }}",
        f"{IMAGE} {{ h = Conv(x, w, s) y = {NORM} }}",
    ],
    ids=[
        "somebody else reads the layer",
        "an activation between",
        "the weight is used twice",
        "somebody else reads the mean",
        "another normalisation",
        "somebody else reads the bias",
    ],
)
def test_other_weights_are_not(found: Find, text: str) -> None:
    assert found(text) == ()
