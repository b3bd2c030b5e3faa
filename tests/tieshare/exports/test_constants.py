from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.exports.constants import fold_constant_units
from tieshare.exports.prune import remove_dead_units
from tieshare.exports.verify import differences
from tieshare.graph.tensors import tensors

Build = Callable[..., ModelProto]
Array = np.ndarray


def f32(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


def without(weight: Array, units: int | list[int], axis: int = 1) -> Array:
    """The weight with these slices along ``axis`` set to zero."""
    copy = weight.copy()
    np.moveaxis(copy, axis, 0)[units] = 0
    return copy


def norm(rng: np.random.Generator, units: int) -> dict[str, Array]:
    made = {name: f32(rng, units) for name in ("gamma", "beta", "mean")}
    return {**made, "variance": rng.uniform(0.5, 2, units).astype(np.float32)}


NORM = "BatchNormalization(%s, gamma, beta, mean, variance)"


def folded(model: ModelProto) -> dict[str, Array]:
    """What is stored once constants are folded, found to be the same function to rounding."""
    made = fold_constant_units(model)
    assert max(differences(model, made).values()) < 1e-6
    return tensors(made)


def shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Those of the stored tensors once the units that nobody reads any more are removed."""
    slim = remove_dead_units(fold_constant_units(model))
    assert max(differences(model, slim).values()) < 1e-6
    return {name: array.shape for name, array in tensors(slim).items() if array.dtype.kind == "f"}


def is_untouched(model: ModelProto) -> bool:
    before, after = tensors(model), tensors(fold_constant_units(model))
    return all(array.tobytes() == before[name].tobytes() for name, array in after.items())


HIDDEN = "g (float[N,4] x) => (float[N,2] y) { h = Gemm(x, w1, b1) r = Relu(h) %s }"


def hidden(rng: np.random.Generator, **more: Array) -> dict[str, Array]:
    """Unit 1 of three has no incoming weights and sends relu(0.5)."""
    b1 = np.array([0.1, 0.5, -0.2], dtype=np.float32)
    return {"w1": without(f32(rng, 4, 3), 1), "b1": b1, "w2": f32(rng, 3, 2), **more}


def test_what_a_hidden_unit_without_weights_sends_goes_into_the_next_bias(
    build: Build, rng: np.random.Generator
) -> None:
    stored = hidden(rng, b2=f32(rng, 2))
    model = build(HIDDEN % "y = Gemm(r, w2, b2)", **stored)
    after = folded(model)
    assert after["w2"].tolist() == without(stored["w2"], 1, axis=0).tolist()
    assert after["w2.bias"] == pytest.approx(stored["b2"] + 0.5 * stored["w2"][1])
    assert shapes(model) == {"w1": (4, 2), "b1": (2,), "w2": (2, 2), "w2.bias": (2,)}


@pytest.mark.parametrize(
    ("reader", "bias"),
    [
        ("y = MatMul(r, w2)", ()),
        ("y = Gemm(r, w2)", ()),
        ("m = MatMul(r, w2) y = Add(b2, m)", (1, 2)),
        ("y = Gemm(r, w2, b2)", (1, 2)),
    ],
)
def test_a_bias_is_made_where_there_is_none_and_changed_where_there_is(
    build: Build, rng: np.random.Generator, reader: str, bias: tuple[int, ...]
) -> None:
    stored = hidden(rng, **({"b2": f32(rng, *bias)} if bias else {}))
    after = folded(build(HIDDEN % reader, **stored))
    assert after["w2.bias"].shape == (bias or (2,))
    assert not after["w2"][1].any()


def test_constants_go_through_activation_batch_norm_and_pooling(
    build: Build, rng: np.random.Generator
) -> None:
    model = build(
        "g (float[N,2,9,9] x) => (float[N,3] y)"
        f"{{ h = Conv(x, k, c) n = {NORM % 'h'} s = HardSwish(n)"
        "  p = MaxPool<kernel_shape = [2,2]>(s) g = GlobalAveragePool(p) f = Flatten(g)"
        "  y = MatMul(f, w) }",
        k=without(f32(rng, 5, 2, 3, 3), [0, 3], axis=0),
        c=f32(rng, 5),
        w=f32(rng, 5, 3),
        **norm(rng, 5),
    )
    found = shapes(model)
    assert (found["k"], found["w"], found["w.bias"]) == ((3, 2, 3, 3), (3, 3), (3,))
    assert found["gamma"] == found["variance"] == (3,)


TWO_CONVS = "g (float[N,2,6,6] x) => (float[N,3,%s] y) { h = Conv(x, k, c) r = Relu(h) %s }"


def test_a_convolution_that_pads_nothing_takes_any_constant(
    build: Build, rng: np.random.Generator
) -> None:
    k2 = f32(rng, 3, 4, 2, 2)
    c = np.array([1, 0.5, 2, -1], dtype=np.float32)
    model = build(
        TWO_CONVS % ("4,4", "y = Conv<strides = [1,1]>(r, k2)"),
        k=without(f32(rng, 4, 2, 2, 2), 2, axis=0),
        c=c,
        k2=k2,
    )
    after = folded(model)
    assert after["k2.bias"] == pytest.approx(2 * k2[:, 2].sum(axis=(1, 2)), rel=1e-6)
    assert shapes(model)["k2"] == (3, 3, 2, 2)


@pytest.mark.parametrize("padding", ["pads = [1,1,1,1]", 'auto_pad = "SAME_UPPER"'])
def test_a_convolution_that_pads_takes_zero_alone(
    build: Build, rng: np.random.Generator, padding: str
) -> None:
    """Channel 0 sends relu(-1) = 0, channel 2 sends 2, which the padding is not."""
    model = build(
        TWO_CONVS % ("6,6", f"y = Conv<{padding}>(r, k2)"),
        k=without(f32(rng, 4, 2, 1, 1), [0, 2], axis=0),
        c=np.array([-1, 0.5, 2, 1], dtype=np.float32),
        k2=f32(rng, 3, 4, 3, 3),
    )
    assert shapes(model)["k2"] == (3, 3, 3, 3)
    assert "k2.bias" not in folded(model)


INVERTED = (
    "g (float[N,3,6,6] x) => (float[N,2,6,6] y)"
    "{ h = Conv(x, k, c) r = Clip(h, zero, six)"
    "  d = Conv<group = 4, pads = [1,1,1,1]>(r, k2, c2) s = Clip(d, zero, six)"
    "  y = Conv(s, k3, c3) }"
)


def inverted(rng: np.random.Generator) -> dict[str, Array]:
    kernels = {"k": f32(rng, 4, 3, 1, 1), "k2": f32(rng, 4, 1, 3, 3), "k3": f32(rng, 2, 4, 1, 1)}
    limits = {"zero": np.array(0, dtype=np.float32), "six": np.array(6, dtype=np.float32)}
    return {**kernels, **limits, "c": f32(rng, 4), "c2": f32(rng, 4), "c3": f32(rng, 2)}


def test_a_depthwise_filter_of_zeros_takes_the_channel_in_front_with_it(
    build: Build, rng: np.random.Generator
) -> None:
    stored = inverted(rng)
    stored["k2"][2], stored["c2"][2] = 0, 7
    model = build(INVERTED, **stored)
    found = shapes(model)
    assert [found[name][:2] for name in ("k", "k2", "k3")] == [(3, 3), (3, 1), (2, 3)]
    assert folded(model)["k3.bias"] == pytest.approx(
        stored["c3"] + 6 * stored["k3"][:, 2, 0, 0], rel=1e-6
    )


@pytest.mark.parametrize(("bias", "channels"), [(-1.0, 3), (1.0, 4)], ids=["zero", "not zero"])
def test_a_channel_that_sends_zero_takes_the_padded_depthwise_filter_behind_with_it(
    build: Build, rng: np.random.Generator, bias: float, channels: int
) -> None:
    stored = inverted(rng)
    stored["k"][1], stored["c"][1] = 0, bias
    assert shapes(build(INVERTED, **stored))["k2"] == (channels, 1, 3, 3)


def test_a_unit_of_a_grouped_convolution_reads_the_channels_of_its_group(
    build: Build, rng: np.random.Generator
) -> None:
    """Channel 3 is place 1 of the second group: units 2 and 3 read it."""
    k2 = f32(rng, 4, 2, 1, 1)
    c = np.array([1, 1, 1, 2], dtype=np.float32)
    model = build(
        "g (float[N,2,3,3] x) => (float[N,4,3,3] y)"
        "{ h = Conv(x, k, c) y = Conv<group = 2>(h, k2, c2) }",
        k=without(f32(rng, 4, 2, 1, 1), 3, axis=0),
        c=c,
        k2=k2,
        c2=f32(rng, 4),
    )
    expected = k2.copy()
    expected[2:, 1] = 0
    assert folded(model)["k2"].tolist() == expected.tolist()


def test_flattened_rows_of_a_constant_channel_all_go(
    build: Build, rng: np.random.Generator
) -> None:
    model = build(
        "g (float[N,1,3,3] x) => (float[N,2] y)"
        "{ h = Conv(x, k, c) t = Tanh(h) f = Flatten(t) y = Gemm<transB = 1>(f, w, b) }",
        k=without(f32(rng, 3, 1, 2, 2), 1, axis=0),
        c=f32(rng, 3),
        w=f32(rng, 2, 12),
        b=f32(rng, 2),
    )
    found = shapes(model)
    assert (found["k"], found["w"]) == ((2, 1, 2, 2), (2, 8))


RESIDUAL = (
    "g (float[N,4] x) => (float[N,2] y)"
    "{ a = Gemm(x, w1, b1) r = Relu(a) h = Gemm(r, w2, b2) s = Add(a, h) y = Gemm(s, w3, b3) }"
)


@pytest.mark.parametrize(("writers", "units"), [(("w1", "w2"), 2), (("w2",), 3), (("w1",), 3)])
def test_a_unit_of_a_residual_stream_is_constant_if_all_that_write_it_are(
    build: Build, rng: np.random.Generator, writers: tuple[str, ...], units: int
) -> None:
    shaped = {"w1": (4, 3), "w2": (3, 3), "w3": (3, 2), "b1": (3,), "b2": (3,), "b3": (2,)}
    stored = {name: f32(rng, *shape) for name, shape in shaped.items()}
    for name in writers:
        stored[name] = without(stored[name], 2)
    found = shapes(build(RESIDUAL, **stored))
    assert (found["w1"], found["w2"], found["w3"]) == ((4, units), (units, units), (units, 2))


@pytest.mark.parametrize(
    ("text", "shapes_before", "shapes_after"),
    [
        (
            "g (int64[N,5] t) => (float[N,5,2] y)"
            "{ i = Cast<to = 7>(t) e = Gather(table, i) y = MatMul(e, w) }",
            {"table": (9, 4), "w": (4, 2)},
            {"table": (9, 3), "w": (3, 2)},
        ),
        (
            "g (int64[T,N] t) => (float[T,1,N,2] y)"
            "{ e = Gather(table, t) y = LSTM<hidden_size = 2>(e, w, r) }",
            {"table": (9, 4), "w": (1, 8, 4), "r": (1, 8, 2)},
            {"table": (9, 3), "w": (1, 8, 3), "r": (1, 8, 2)},
        ),
    ],
    ids=["a product", "a recurrent cell"],
)
def test_an_embedding_column_of_zeros_sends_zero(
    build: Build,
    rng: np.random.Generator,
    text: str,
    shapes_before: dict[str, tuple[int, ...]],
    shapes_after: dict[str, tuple[int, ...]],
) -> None:
    stored = {name: f32(rng, *shape) for name, shape in shapes_before.items()}
    stored["table"] = without(stored["table"], 1)
    assert shapes(build(text, **stored)) == shapes_after


def test_one_constant_leads_to_the_next(build: Build, rng: np.random.Generator) -> None:
    """The second layer reads nothing but the first one's constant, so that it is one itself."""
    w2 = f32(rng, 3, 3)
    w2[[0, 2], 1] = 0
    stored = hidden(rng, w2=w2, b2=f32(rng, 3), w3=f32(rng, 3, 2))
    model = build(HIDDEN % "i = Gemm(r, w2, b2) t = Tanh(i) y = MatMul(t, w3)", **stored)
    found = shapes(model)
    assert (found["w1"], found["w2"], found["w3"]) == ((4, 2), (2, 2), (2, 2))


@pytest.mark.parametrize(
    "text",
    [
        HIDDEN % "y = Gemm(r, w2, c)",
        HIDDEN % "y = Gemm<alpha = 0.5>(r, w2)",
        HIDDEN % "q = Transpose(r) z = Gemm<transA = 1>(q, w2) y = Identity(z)",
        HIDDEN % "a = MatMul(r, w2) n = Neg(r) b = MatMul(n, w2) y = Add(a, b)",
    ],
    ids=[
        "a bias of one number",
        "a factor",
        "turned",
        "a weight that two nodes read",
    ],
)
def test_what_is_not_understood_stays(build: Build, rng: np.random.Generator, text: str) -> None:
    stored = hidden(rng)
    if "w2, c)" in text:
        stored["c"] = np.array([1], dtype=np.float32)
    assert is_untouched(build(text, **stored))


def test_the_model_that_was_given_stays_as_it_is(build: Build, rng: np.random.Generator) -> None:
    model = build(HIDDEN % "y = MatMul(r, w2)", **hidden(rng))
    before = model.SerializeToString()
    fold_constant_units(model)
    assert model.SerializeToString() == before
