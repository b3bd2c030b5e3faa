"""Normalisation and pooling: entries a channel, and axes that are mixed."""

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

Graph = Callable[..., ModelProto]
Units = Callable[[ModelProto], dict[tuple[str, int], list[Any]]]
Without = Callable[..., dict[str, tuple[int, ...]]]


@pytest.mark.parametrize("x", ["N, 3", "N, 3, 5", "N, 3, 4, 4"])
def test_batch_norm_has_four_entries_a_channel(graph: Graph, without: Without, x: str) -> None:
    kernel = ", ".join(["1"] * (len(x.split(",")) - 2))
    first, second = (("MatMul", "{}, {}"), ("Conv", "{1}, {0}, " + kernel))[kernel != ""]
    model = graph(f"""
        norm (float[{x}] x) => (float[N, 2{", M" * len(kernel.split(", ") if kernel else [])}] y)
        <float[{second.format(3, 4)}] w1, float[4] scale, float[4] shift, float[4] mean,
         float[4] var, float[{second.format(4, 2)}] w2> {{
            h = {first} (x, w1)
            n = BatchNormalization (h, scale, shift, mean, var)
            y = {first} (n, w2)
        }}""")
    left = without(model, w2=(1 if kernel else 0, [0, 2]))
    assert {left[name] for name in ("scale", "shift", "mean", "var")} == {(2,)}
    assert left["w1"][0 if kernel else 1] == 2


def test_a_statistic_that_is_a_weight_too_ties_its_units(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        shared (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4] ones = {1, 2, 3, 4}, float[4] shift, float[4] mean,
         float[4, 2] w2> {
            h = MatMul (x, w1)
            n = BatchNormalization (h, ones, shift, mean, ones)
            y = MatMul (n, w2)
        }""")
    assert units(model)["ones", 0] == units(model)["w2", 0]
    assert without(model, w2=(0, [3]))["ones"] == (3,)


def test_statistics_of_a_batch_in_training_mode_are_outputs_by_channel(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        trains (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4] scale, float[4] shift, float[4] mean, float[4] var,
         float[4, 2] w2> {
            h = MatMul (x, w1)
            n, m, v = BatchNormalization <training_mode = 1> (h, scale, shift, mean, var)
            s = Add (n, m)
            y = MatMul (s, w2)
        }""")
    assert len(units(model)) == 6
    assert without(model, w2=(0, [3]))["mean"] == (3,)


@pytest.mark.parametrize(
    "norm",
    [
        "InstanceNormalization (h, scale, shift)",
        "BatchNormalization (h, scale, shift, mean, var)",
    ],
)
def test_norms_by_channel_keep_what_is_between_two_convolutions(
    graph: Graph, without: Without, norm: str
) -> None:
    model = graph(f"""
        norm (float[N, 1, 4, 4] x) => (float[N, 2, 4, 4] y)
        <float[3, 1, 1, 1] k1, float[3] scale, float[3] shift, float[3] mean, float[3] var,
         float[2, 3, 1, 1] k2> {{
            h = Conv (x, k1)
            n = {norm}
            y = Conv (n, k2)
        }}""")
    left = without(model, k2=(1, [1]))
    assert (left["k1"], left["scale"], left["shift"]) == ((2, 1, 1, 1), (2,), (2,))


@pytest.mark.parametrize(("opset", "entries"), [(18, 3), (21, 6)])
def test_a_group_norm_loses_whole_groups(
    graph: Graph, units: Units, without: Without, opset: int, entries: int
) -> None:
    model = graph(
        f"""
        norm (float[N, 1, 4, 4] x) => (float[N, 2, 4, 4] y)
        <float[6, 1, 1, 1] k1, float[{entries}] scale, float[{entries}] shift,
         float[2, 6, 1, 1] k2> {{
            h = Conv (x, k1)
            n = GroupNormalization <num_groups = 3> (h, scale, shift)
            y = Conv (n, k2)
        }}""",
        opset,
    )
    assert units(model)["k2", 1] == [0, 0, 1, 1, 2, 2]
    # ONNX Runtime has the operator from opset 21 on.
    if opset == 21:
        assert without(model, k2=(1, [0, 2, 3]))["scale"] == (4,)


def test_a_group_norm_written_with_an_instance_norm_loses_whole_groups(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        norm (float[N, 1, 4, 4] x) => (float[N, 2, 4, 4] y)
        <float[6, 1, 1, 1] k1, int64[3] groups = {0, 3, -1}, float[3] ones = {1, 1, 1},
         float[3] zeros = {0, 0, 0}, float[6, 1, 1] scale, float[6, 1, 1] shift,
         float[2, 6, 1, 1] k2> {
            h = Conv (x, k1)
            g = Reshape (h, groups)
            i = InstanceNormalization (g, ones, zeros)
            shape = Shape (h)
            r = Reshape (i, shape)
            s = Mul (r, scale)
            n = Add (s, shift)
            y = Conv (n, k2)
        }""")
    assert units(model)["k2", 1] == [0, 0, 1, 1, 2, 2]
    left = without(model, k2=(1, [0, 1, 2]))
    assert (left["k1"], left["ones"], left["shift"]) == ((4, 1, 1, 1), (2,), (4, 1, 1))


@pytest.mark.parametrize(
    ("norm", "opset"),
    [
        ("LayerNormalization (h, scale, shift)", 17),
        ("RMSNormalization (h, scale)", 23),
        ("LpNormalization (h)", 17),
        ("LRN <size = 3> (h)", 17),
    ],
)
def test_what_is_normalised_together_stays(
    graph: Graph, units: Units, norm: str, opset: int
) -> None:
    model = graph(
        f"""
        norm (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, float[4] scale, float[4] shift, float[4, 2] w2> {{
            h = MatMul (x, w1)
            n = {norm}
            y = MatMul (n, w2)
        }}""",
        opset,
    )
    assert {name for name, _ in units(model)} <= {"scale", "shift"}


def test_a_norm_over_time_keeps_the_units(graph: Graph, without: Without) -> None:
    model = graph("""
        norm (float[N, 5, 3] x) => (float[N, 5, 2] y)
        <float[3, 4] w1, float[5] scale, float[5] shift, float[4, 2] w2> {
            h = MatMul (x, w1)
            t = Transpose <perm = [0, 2, 1]> (h)
            n = LayerNormalization (t, scale, shift)
            m = MeanVarianceNormalization <axes = [0, 2]> (n)
            b = Transpose <perm = [0, 2, 1]> (m)
            y = MatMul (b, w2)
        }""")
    assert without(model, w2=(0, [3]))["w1"] == (3, 3)


@pytest.mark.parametrize(
    "pool",
    [
        "MaxPool <kernel_shape = [2, 2]> (h)",
        "AveragePool <kernel_shape = [2, 2], pads = [1, 0, 1, 0]> (h)",
        "LpPool <kernel_shape = [3, 3]> (h)",
        "GlobalAveragePool (h)",
        "GlobalMaxPool (h)",
        "ReduceMean <keepdims = 1> (h, spatial)",
        "ReduceMax <keepdims = 1> (h, spatial)",
        "ReduceSum <keepdims = 1> (h, spatial)",
    ],
)
def test_pooling_keeps_channels_apart(graph: Graph, without: Without, pool: str) -> None:
    model = graph(f"""
        pool (float[N, 1, 4, 4] x) => (float[N, 2, H, W] y)
        <float[3, 1, 1, 1] k1, int64[2] spatial = {{2, -1}}, float[2, 3, 1, 1] k2> {{
            h = Conv (x, k1)
            p = {pool}
            y = Conv (p, k2)
        }}""")
    assert without(model, k2=(1, [0])) == {"k1": (2, 1, 1, 1), "k2": (2, 2, 1, 1)}


def test_global_pooling_by_a_mean_leaves_one_row_a_channel(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph(
        """
        pooled (float[N, 1, 5, 5] x) => (float[N, 2] y)
        <float[3, 1, 3, 3] k, float[3, 2] w> {
            f = Conv (x, k)
            m = ReduceMean <axes = [2, 3], keepdims = 0> (f)
            y = MatMul (m, w)
        }""",
        opset=13,
    )
    assert units(model)["w", 0] == [0, 1, 2]
    assert without(model, w=(0, [1])) == {"k": (2, 1, 3, 3), "w": (2, 2)}


def test_a_mean_over_the_units_keeps_them(graph: Graph, units: Units) -> None:
    model = graph(
        """
        pooled (float[N, 1, 5, 5] x) => (float[N, 1, 3, 2] y)
        <float[3, 1, 3, 3] k, float[3, 2] w> {
            f = Conv (x, k)
            m = ReduceMean <axes = [1]> (f)
            y = MatMul (m, w)
        }""",
        opset=13,
    )
    assert units(model) == {}
