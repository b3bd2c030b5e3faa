"""Depthwise and grouped convolutions, channel shuffles, transposed convolutions."""

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

Graph = Callable[..., ModelProto]
Units = Callable[[ModelProto], dict[tuple[str, int], list[Any]]]
Without = Callable[..., dict[str, tuple[int, ...]]]


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_convolution_has_the_channels_that_it_reads(
    graph: Graph, units: Units, without: Without, multiplier: int
) -> None:
    out = 4 * multiplier
    model = graph(f"""
        depthwise (float[N, 2, 5, 5] x) => (float[N, 2, 3, 3] y)
        <float[4, 2, 1, 1] k1, float[{out}, 1, 3, 3] k2, float[{out}] c2,
         float[2, {out}, 1, 1] k3> {{
            a = Conv (x, k1)
            b = Conv <group = 4> (a, k2, c2)
            y = Conv (b, k3)
        }}""")
    found = units(model)
    assert found["k1", 0] == [0, 1, 2, 3]
    if multiplier == 2:
        assert found["k3", 1] == [[i // 2, 4 + i % 2] for i in range(8)]
    silent = [i for i in range(out) if i // multiplier in (0, 2)]
    assert without(model, k3=(1, silent)) == {
        "k1": (2, 2, 1, 1),
        "k2": (2 * multiplier, 1, 3, 3),
        "c2": (2 * multiplier,),
        "k3": (2, 2 * multiplier, 1, 1),
    }


def test_a_place_that_no_group_needs_goes_in_all_of_them(graph: Graph, without: Without) -> None:
    model = graph("""
        depthwise (float[N, 2, 5, 5] x) => (float[N, 2, 3, 3] y)
        <float[4, 2, 1, 1] k1, float[8, 1, 3, 3] k2, float[2, 8, 1, 1] k3> {
            a = Conv (x, k1)
            b = Conv <group = 4> (a, k2)
            y = Conv (b, k3)
        }""")
    left = without(model, k3=(1, [1, 3, 5, 7]))
    assert left == {"k1": (4, 2, 1, 1), "k2": (4, 1, 3, 3), "k3": (2, 4, 1, 1)}


def test_an_inverted_residual_loses_channels_inside_and_on_its_stream(
    graph: Graph, without: Without
) -> None:
    model = graph("""
        mobile (float[N, 2, 6, 6] x) => (float[N, 3, 6, 6] y)
        <float[4, 2, 1, 1] stem, float[8, 4, 1, 1] widen, float[8, 1, 3, 3] deep, float[8] c,
         float[4, 8, 1, 1] narrow, float[3, 4, 1, 1] head> {
            s = Conv (x, stem)
            w = Conv (s, widen)
            r = Clip (w)
            d = Conv <group = 8, pads = [1, 1, 1, 1]> (r, deep, c)
            n = Conv (d, narrow)
            t = Add (s, n)
            y = Conv (t, head)
        }""")
    left = without(model, narrow=(1, [1, 2, 3]), widen=(1, [0]), head=(1, [0]))
    assert left == {
        "stem": (3, 2, 1, 1),
        "widen": (5, 3, 1, 1),
        "deep": (5, 1, 3, 3),
        "c": (5,),
        "narrow": (3, 5, 1, 1),
        "head": (3, 3, 1, 1),
    }


def test_a_grouped_convolution_loses_groups_and_places(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        grouped (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y)
        <float[6, 2, 1, 1] k1, float[9, 2, 1, 1] k2, float[9] c2, float[2, 9, 1, 1] k3> {
            a = Conv (x, k1)
            b = Conv <group = 3> (a, k2, c2)
            y = Conv (b, k3)
        }""")
    found = units(model)
    group = [one[0] for one in found["k1", 0]]
    assert group == [group[0]] * 2 + [group[2]] * 2 + [group[4]] * 2
    assert [one[0] for one in found["k3", 1]] == [group[0]] * 3 + [group[2]] * 3 + [group[4]] * 3
    # The second group, and the last place of each that is left.
    left = without(model, k3=(1, [3, 4, 5, 2, 8]), k2=(1, [1]))
    assert left == {"k1": (2, 2, 1, 1), "k2": (4, 1, 1, 1), "c2": (4,), "k3": (2, 4, 1, 1)}


def test_grouped_convolutions_on_an_input_of_the_graph_keep_their_groups(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        grouped (float[N, 4, 4, 4] x) => (float[N, 2, 4, 4] y)
        <float[6, 2, 1, 1] k1, float[2, 6, 1, 1] k2> {
            a = Conv <group = 2> (x, k1)
            y = Conv (a, k2)
        }""")
    assert units(model)["k1", 0] == [0, 1, 2, 0, 1, 2]
    assert without(model, k2=(1, [1, 4, 2])) == {"k1": (4, 2, 1, 1), "k2": (2, 4, 1, 1)}


def test_a_channel_shuffle_deals_the_units_of_each_group(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        shuffle (float[N, 4, 4, 4] x) => (float[N, 2, 4, 4] y)
        <float[8, 2, 1, 1] k1, int64[5] parts = {0, 2, 4, 4, 4}, int64[4] whole = {0, 8, 4, 4},
         float[8, 4, 1, 1] k2, float[2, 8, 1, 1] k3> {
            a = Conv <group = 2> (x, k1)
            p = Reshape (a, parts)
            t = Transpose <perm = [0, 2, 1, 3, 4]> (p)
            s = Reshape (t, whole)
            b = Conv <group = 2> (s, k2)
            y = Conv (b, k3)
        }""")
    left = without(model, k3=(1, [0, 1, 2, 3]))
    assert left == {"k1": (4, 2, 1, 1), "k2": (4, 4, 1, 1), "k3": (2, 4, 1, 1)}
    left = without(model, k2=(1, [0, 1]), k3=(1, [1, 5]))
    assert left == {"k1": (4, 2, 1, 1), "k2": (6, 2, 1, 1), "k3": (2, 6, 1, 1)}


def test_a_shuffle_in_front_of_a_plain_convolution_loses_rows_and_columns_of_its_grid(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        shuffle (float[N, 2, 4, 4] x) => (float[N, 2, 4, 4] y)
        <float[6, 2, 1, 1] k1, int64[5] parts = {0, 2, 3, 4, 4}, int64[4] whole = {0, 6, 4, 4},
         float[2, 6, 1, 1] k2> {
            a = Conv (x, k1)
            p = Reshape (a, parts)
            t = Transpose <perm = [0, 2, 1, 3, 4]> (p)
            s = Reshape (t, whole)
            y = Conv (s, k2)
        }""")
    found = units(model)
    assert found["k1", 0] == [[i // 3, 2 + i % 3] for i in range(6)]
    assert found["k2", 1] == [[2 + i // 2, i % 2] for i in range(6)]
    assert without(model, k2=(1, [0, 2, 4, 3])) == {"k1": (2, 2, 1, 1), "k2": (2, 2, 1, 1)}


def test_a_transposed_convolution_makes_units_along_its_second_axis(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        up (float[N, 2, 4, 4] x) => (float[N, 2, 8, 8] y)
        <float[3, 2, 1, 1] k1, float[3, 4, 2, 2] k2, float[4] c2, float[2, 4, 1, 1] k3> {
            a = Conv (x, k1)
            b = ConvTranspose <strides = [2, 2]> (a, k2, c2)
            y = Conv (b, k3)
        }""")
    assert units(model)["k2", 0] == units(model)["k1", 0]
    assert units(model)["k2", 1] == units(model)["k3", 1]
    left = without(model, k2=(0, [0]), k3=(1, [1, 2]))
    assert left == {"k1": (2, 2, 1, 1), "k2": (2, 2, 2, 2), "c2": (2,), "k3": (2, 2, 1, 1)}


@pytest.mark.parametrize(("inside", "made"), [(1, 1), (2, 3)])
def test_a_grouped_transposed_convolution_loses_whole_groups(
    graph: Graph, without: Without, inside: int, made: int
) -> None:
    model = graph(f"""
        up (float[N, 2, 4, 4] x) => (float[N, 2, 8, 8] y)
        <float[{3 * inside}, 2, 1, 1] k1, float[{3 * inside}, {made}, 2, 2] k2,
         float[{3 * made}] c2, float[2, {3 * made}, 1, 1] k3> {{
            a = Conv (x, k1)
            b = ConvTranspose <strides = [2, 2], group = 3> (a, k2, c2)
            y = Conv (b, k3)
        }}""")
    left = without(model, k3=(1, list(range(made, 2 * made))))
    assert left == {
        "k1": (2 * inside, 2, 1, 1),
        "k2": (2 * inside, made, 2, 2),
        "c2": (2 * made,),
        "k3": (2, 2 * made, 1, 1),
    }


def test_a_whole_batch_of_stored_pictures_may_lose_some(graph: Graph, without: Without) -> None:
    """What is convolved is stored, and each picture is read by a row of the last weight."""
    model = graph("""
        stored (float[N, 2] x) => (float[N, 2, 3, 3] y)
        <float[4, 2, 3, 3] pictures, float[5, 2, 1, 1] k, float[2, 4] w, int64[2] flat = {4, -1},
         int64[4] shape = {-1, 5, 3, 3}, float[2, 5, 1, 1] last> {
            c = Conv (pictures, k)
            f = Reshape (c, flat)
            some = MatMul (x, w)
            m = MatMul (some, f)
            p = Reshape (m, shape)
            y = Conv (p, last)
        }""")
    left = without(model, last=(1, [0]))
    assert left["k"] == (4, 2, 1, 1)
    assert left["pictures"] == (4, 2, 3, 3)
