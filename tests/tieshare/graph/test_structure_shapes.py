"""The same elements in another shape, and elements that are repeated."""

from collections.abc import Callable
from typing import Any

import pytest
from onnx import ModelProto

Graph = Callable[..., ModelProto]
Units = Callable[[ModelProto], dict[tuple[str, int], list[Any]]]
Without = Callable[..., dict[str, tuple[int, ...]]]


def test_channels_last_flatten_interleaves_the_channels(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        nhwc (float[N, 5, 5, 1] x) => (float[N, 2] y)
        <float[3, 1, 4, 4] k, int64[2] flat = {-1, 12}, float[12, 2] w, float[2] b> {
            nchw = Transpose <perm = [0, 3, 1, 2]> (x)
            f = Conv (nchw, k)
            nhwc = Transpose <perm = [0, 2, 3, 1]> (f)
            x2 = Reshape (nhwc, flat)
            m = MatMul (x2, w)
            y = Add (m, b)
        }""")
    assert units(model)["w", 0] == [0, 1, 2] * 4
    left = without(model, w=(0, [1, 4, 7, 10]))
    assert left == {"k": (2, 1, 4, 4), "w": (8, 2), "b": (2,)}


@pytest.mark.parametrize(
    ("flat", "stored"),
    [
        ("Flatten (f)", "[2] unused = {0, 0}"),
        ("Flatten <axis = -3> (f)", "[2] unused = {0, 0}"),
        ("Reshape (f, flat)", "[2] flat = {0, -1}"),
        ("Reshape (f, flat)", "[2] flat = {0, 12}"),
        ("Reshape (f, flat)", "[2] flat = {-1, 12}"),
    ],
)
def test_a_flatten_merges_channels_and_places(
    graph: Graph, units: Units, without: Without, flat: str, stored: str
) -> None:
    model = graph(f"""
        flat (float[N, 1, 4, 4] x) => (float[N, 2] y)
        <float[3, 1, 3, 3] k, int64{stored}, float[12, 2] w> {{
            f = Conv (x, k)
            x2 = {flat}
            y = MatMul (x2, w)
        }}""")
    assert units(model)["w", 0] == [0] * 4 + [1] * 4 + [2] * 4
    assert without(model, w=(0, [0, 1, 2, 3])) == {"k": (2, 1, 3, 3), "w": (8, 2)}


def test_a_picture_is_flattened_and_made_one_again(graph: Graph, without: Without) -> None:
    model = graph("""
        there (float[N, 2, 4, 4] x) => (float[N, 3, 4, 4] y)
        <float[6, 2, 1, 1] k1, int64[3] tokens = {0, 6, 16}, float[6, 5] w1, float[5, 6] w2,
         int64[4] picture = {0, 6, 4, 4}, float[3, 6, 1, 1] k2> {
            f = Conv (x, k1)
            flat = Reshape (f, tokens)
            turned = Transpose <perm = [0, 2, 1]> (flat)
            h = MatMul (turned, w1)
            r = Relu (h)
            g = MatMul (r, w2)
            s = Add (turned, g)
            back = Transpose <perm = [0, 2, 1]> (s)
            p = Reshape (back, picture)
            y = Conv (p, k2)
        }""")
    left = without(model, k2=(1, [0, 1]), w1=(0, [1, 2]), w2=(0, [4]))
    assert left == {"k1": (5, 2, 1, 1), "w1": (5, 4), "w2": (4, 5), "k2": (3, 5, 1, 1)}


def test_units_that_are_split_lie_along_the_axis_that_they_differ_along(
    graph: Graph, units: Units, without: Without
) -> None:
    """Channels and places are merged and parted at once: 3 * 4 becomes 6 * 2."""
    model = graph("""
        parted (float[N, 1, 4, 4] x) => (float[N, 6, 3] y)
        <float[4, 1, 3, 3] k, int64[3] shape = {0, 8, 2}, float[2, 3] w, float[6, 8] v> {
            f = Conv (x, k)
            s = Reshape (f, shape)
            m = MatMul (s, w)
            y = MatMul (v, m)
        }""")
    found = units(model)
    assert found["k", 0] == [0, 1, 2, 3]
    assert found["v", 1] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert without(model, v=(1, [2, 3])) == {"k": (3, 1, 3, 3), "w": (2, 3), "v": (6, 6)}


def test_units_that_a_reshape_mixes_are_one(graph: Graph, units: Units, without: Without) -> None:
    model = graph("""
        across (float[N, 3] x) => (float[N, 3, 2] y)
        <float[3, 12] w1, int64[3] shape = {0, 3, 4}, float[4, 2] w2> {
            h = MatMul (x, w1)
            s = Reshape (h, shape)
            t = Transpose <perm = [0, 2, 1]> (s)
            f = Flatten (t)
            p = Reshape (f, shape)
            y = MatMul (p, w2)
        }""")
    found = units(model)
    assert found["w1", 1] == [found["w1", 1][0]] * 12
    assert without(model, w2=(0, [0, 1, 2])) == {"w1": (3, 12), "w2": (4, 2)}


def test_a_copied_length_at_another_axis_keeps_its_units(graph: Graph, units: Units) -> None:
    model = graph("""
        copied (float[2, 4] x) => (float[2, 4, 3] y)
        <float[4, 4] w1, int64[3] shape = {0, 0, 1}, float[1, 3] w2> {
            h = MatMul (x, w1)
            s = Reshape (h, shape)
            y = MatMul (s, w2)
        }""")
    assert units(model) == {}


def test_squeeze_and_unsqueeze_move_an_axis(graph: Graph, without: Without) -> None:
    model = graph("""
        moved (float[N, 3] x) => (float[N, 2] y)
        <float[3, 4] w1, int64[2] axes = {-1, 1}, float[5, 4, 1, 1] k, int64[2] back = {2, 3},
         float[5, 2] w2> {
            h = MatMul (x, w1)
            u = Unsqueeze (h, axes)
            t = Transpose <perm = [0, 2, 1, 3]> (u)
            c = Conv (t, k)
            s = Squeeze (c, back)
            y = MatMul (s, w2)
        }""")
    left = without(model, k=(1, [3]), w2=(0, [1, 2]))
    assert left == {"w1": (3, 3), "k": (3, 3, 1, 1), "w2": (3, 2)}


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_four_channels_that_become_one_go_together(
    graph: Graph, units: Units, without: Without, mode: str
) -> None:
    model = graph(f"""
        shuffle (float[N, 2, 3, 3] x) => (float[N, 2, 6, 6] y)
        <float[12, 2, 1, 1] k1, float[2, 3, 1, 1] k2> {{
            f = Conv (x, k1)
            d = DepthToSpace <blocksize = 2, mode = "{mode}"> (f)
            y = Conv (d, k2)
        }}""")
    expected = [0, 1, 2] * 4 if mode == "DCR" else [0] * 4 + [1] * 4 + [2] * 4
    assert units(model)["k1", 0] == expected
    assert without(model, k2=(1, [1])) == {"k1": (8, 2, 1, 1), "k2": (2, 2, 1, 1)}


def test_a_pixel_shuffle_written_out_is_followed(graph: Graph, without: Without) -> None:
    model = graph("""
        shuffle (float[N, 2, 3, 3] x) => (float[N, 2, 6, 6] y)
        <float[12, 2, 1, 1] k1, int64[6] parts = {-1, 3, 2, 2, 3, 3},
         int64[4] whole = {-1, 3, 6, 6}, float[2, 3, 1, 1] k2> {
            f = Conv (x, k1)
            p = Reshape (f, parts)
            t = Transpose <perm = [0, 1, 4, 2, 5, 3]> (p)
            d = Reshape (t, whole)
            y = Conv (d, k2)
        }""")
    assert without(model, k2=(1, [1])) == {"k1": (8, 2, 1, 1), "k2": (2, 2, 1, 1)}


def test_places_that_become_channels_have_the_units_of_these(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        focus (float[N, 2, 4, 4] x) => (float[N, 2, 2, 2] y)
        <float[3, 2, 1, 1] k1, float[2, 12, 1, 1] k2> {
            f = Conv (x, k1)
            d = SpaceToDepth <blocksize = 2> (f)
            y = Conv (d, k2)
        }""")
    assert units(model)["k2", 1] == [0, 1, 2] * 4
    assert without(model, k2=(1, [0, 3, 6, 9, 1])) == {"k1": (2, 2, 1, 1), "k2": (2, 8, 1, 1)}


@pytest.mark.parametrize(
    "resize",
    [
        'Resize <mode = "linear"> (b, , scales)',
        'Resize <mode = "nearest"> (b, , , sizes)',
        'Resize <mode = "nearest", axes = [2, 3]> (b, , , spatial)',
    ],
)
def test_a_unet_by_interpolation_joins_channels_of_two_heights(
    graph: Graph, units: Units, without: Without, resize: str
) -> None:
    model = graph(f"""
        unet (float[2, 1, 6, 6] x) => (float[2, 3, 6, 6] y)
        <float[4, 1, 3, 3] k1, float[5, 4, 3, 3] k2, float[3, 9, 1, 1] k3,
         float[4] scales = {{1, 1, 2, 2}}, int64[4] sizes = {{2, 5, 6, 6}},
         int64[2] spatial = {{6, 6}}> {{
            a = Conv <pads = [1, 1, 1, 1]> (x, k1)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
            b = Conv <pads = [1, 1, 1, 1]> (p, k2)
            up = {resize}
            c = Concat <axis = 1> (a, up)
            y = Conv (c, k3)
        }}""")
    assert units(model)["k3", 1] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    left = without(model, k3=(1, [0, 1, 4, 5]), k2=(1, [0]))
    assert (left["k1"], left["k2"], left["k3"]) == ((3, 1, 3, 3), (3, 3, 3, 3), (3, 6, 1, 1))


def test_a_channel_that_is_resized_stays(graph: Graph, units: Units) -> None:
    model = graph("""
        resized (float[2, 1, 6, 6] x) => (float[2, 3, 6, 6] y)
        <float[4, 1, 1, 1] k1, float[3, 8, 1, 1] k2, float[4] scales = {1, 2, 1, 1}> {
            a = Conv (x, k1)
            up = Resize <mode = "nearest"> (a, , scales)
            y = Conv (up, k2)
        }""")
    assert units(model) == {}


def test_slices_of_one_are_expanded_to_the_length_of_others(
    graph: Graph, units: Units, without: Without
) -> None:
    model = graph("""
        expand (float[N, 3] x) => (float[N, 2] y)
        <float[3, 1] w1, float[3, 4] w2, int64[2] shape = {1, 4}, float[4, 2] w3> {
            a = MatMul (x, w1)
            e = Expand (a, shape)
            b = MatMul (x, w2)
            s = Mul (e, b)
            y = MatMul (s, w3)
        }""")
    assert units(model) == {("w2", 1): [0, 1, 2, 3], ("w3", 0): [0, 1, 2, 3]}
    assert without(model, w3=(0, [0, 1])) == {"w1": (3, 1), "w2": (3, 2), "w3": (2, 2)}
