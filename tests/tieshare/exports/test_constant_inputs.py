from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.constant_inputs import constant_inputs

Build = Callable[..., ModelProto]
NONE = None  # a channel that carries several numbers


def found(model: ModelProto) -> dict[str, list[float | None]]:
    """By layer the number of each channel of its input."""
    return {
        layer: [None if np.isnan(number) else round(float(number), 5) for number in numbers]
        for layer, numbers in constant_inputs(model).items()
    }


def hidden(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Unit 1 of three has no incoming weights."""
    w1 = rng.normal(size=(4, 3)).astype(np.float32)
    w1[:, 1] = 0
    b1 = np.array([0.1, 0.5, -0.2], dtype=np.float32)
    return {"w1": w1, "b1": b1, "w2": rng.normal(size=(3, 2)).astype(np.float32)}


TWO_LAYERS = (
    "g (float[N,4] x) => (float[N,2] y) { h = Gemm(x, w1, b1) r = Relu(h) y = MatMul(r, w2) }"
)


def test_a_unit_without_incoming_weights_sends_its_bias(
    build: Build, rng: np.random.Generator
) -> None:
    assert found(build(TWO_LAYERS, **hidden(rng))) == {
        "Gemm_0": [NONE] * 4,
        "MatMul_2": [NONE, 0.5, NONE],
    }


def test_a_unit_that_is_only_ever_off_is_no_constant(
    build: Build, rng: np.random.Generator
) -> None:
    """Its weights are tiny and its bias is far below zero, but some input would turn it on."""
    stored = hidden(rng)
    stored["w1"][:, 2], stored["b1"][2] = 1e-3, -50
    assert found(build(TWO_LAYERS, **stored))["MatMul_2"] == [NONE, 0.5, NONE]


@pytest.mark.parametrize("gate", ["Sigmoid", "HardSigmoid", "Sign", "Abs", "Softsign", "Gelu"])
def test_no_activation_hides_that_a_unit_moves(
    build: Build, rng: np.random.Generator, gate: str
) -> None:
    model = build(TWO_LAYERS.replace("Relu", gate), opset=20, **hidden(rng))
    assert [number is NONE for number in found(model)["MatMul_2"]] == [True, False, True]


def test_a_channel_that_differs_at_the_border_is_no_constant(
    build: Build, rng: np.random.Generator
) -> None:
    """Padded with zeros, channel 0 carries 3 and 0; channel 1 carries 0 alone."""
    model = build(
        "g (float[N,1,4,4] x) => (float[N,2,6,6] y)"
        "{ h = Conv(x, k, b) p = Pad(h, pads) y = Conv(p, k2) }",
        k=np.array([0, 0, 1], dtype=np.float32).reshape(3, 1, 1, 1),
        b=np.array([3, 0, 0], dtype=np.float32),
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        k2=rng.normal(size=(2, 3, 1, 1)).astype(np.float32),
    )
    assert found(model)["Conv_2"] == [NONE, 0, NONE]


def test_attention_passes_a_constant_value_on(build: Build, rng: np.random.Generator) -> None:
    """Its weights add up to one, whatever they are."""
    wv = rng.normal(size=(4, 3)).astype(np.float32)
    wv[:, 2] = 0
    model = build(
        "g (float[N,5,4] x) => (float[N,5,2] y)"
        "{ v0 = MatMul(x, wv) v = Add(v0, bv) t = Transpose<perm = [0,2,1]>(x) s = MatMul(x, t)"
        "  a = Softmax(s) o = MatMul(a, v) y = MatMul(o, w) }",
        wv=wv,
        bv=np.array([1, 2, 0.25], dtype=np.float32),
        w=rng.normal(size=(3, 2)).astype(np.float32),
    )
    assert found(model)["MatMul_6"] == [NONE, NONE, 0.25]


@pytest.mark.parametrize(
    "text",
    [
        "g (float[N,4] x, float[N,3] c) => (float[N,2] y) { h = Gemm(x, w1, c) y = MatMul(h, w2) }",
        "g (float[N,4] x, int64[N,1] p) => (float[N,2] y)"
        "{ h = Gemm(x, w1, b1) f = Cast<to = 1>(p) m = Mul(h, f) y = MatMul(m, w2) }",
        "g (float[N,4] x, bool[N,1] p) => (float[N,2] y)"
        "{ h = Gemm(x, w1, b1) m = Where(p, h, b1) y = MatMul(m, w2) }",
    ],
    ids=["a bias", "whole numbers", "a mask"],
)
def test_what_other_inputs_change_is_no_constant(
    build: Build, rng: np.random.Generator, text: str
) -> None:
    channels = found(build(text, **hidden(rng))).values()
    assert {number for numbers in channels for number in numbers} <= {NONE}


def test_a_network_without_such_units_is_not_run(
    build: Build, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = hidden(rng)
    stored["w1"][:] = 1
    monkeypatch.setattr("tieshare.exports.constant_inputs.inner_values", None)
    assert found(build(TWO_LAYERS, **stored)) == {}
