"""Fourier transforms and windows in the twin against ONNX Runtime and numpy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from tieshare.twin import from_onnx

Array = NDArray[Any]
Check = Callable[..., None]
Make = Callable[[str], ModelProto]


def _x(*shape: int) -> Array:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "last"),
    [("inverse = 0", 1), ("inverse = 0", 2), ("inverse = 1", 2), ("onesided = 1", 1)],
)
@pytest.mark.parametrize("length", [None, 6, 11])
def test_spectra_are_those_of_onnx_runtime(
    agree: Check, last: int, options: str, length: int | None
) -> None:
    x = {"x": _x(2, 8, 5, last)}
    stored = "" if length is None else f"int64 n = {{{length}}}"
    named = "" if length is None else ", n"
    agree(17, f"y = DFT <{options}> (x{named})", x, stored)
    agree(17, f"y = DFT <axis = 2, {options}> (x{named})", x, stored)
    axis = "int64 a = {-2}"
    stored = f"{stored}, {axis}" if stored else axis
    agree(20, f"y = DFT <{options}> (x{named or ', '}, a)".replace(", ,", ', "",'), x, stored)


def test_half_of_a_spectrum_is_turned_back_into_a_signal(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 10, opset_import: ["" : 20]>
        back (float[2, 9, 1] x) => (float[2, 9, 1] y) <int64 n = {9}> {
            s = DFT <onesided = 1> (x)
            y = DFT <onesided = 1, inverse = 1> (s, n)
        }""")
    x = torch.from_numpy(_x(2, 9, 1))
    result = from_onnx(model)(x)
    assert isinstance(result, torch.Tensor)
    torch.testing.assert_close(result, x)


def test_frames_of_a_signal_are_transformed(agree: Check) -> None:
    x = _x(2, 40, 1)
    steps = "int64 step = {7}, int64 length = {12}, float[12] w"
    agree(17, "y = STFT (x, step, w)", {"x": x}, steps)
    agree(17, 'y = STFT (x, step, "", length)', {"x": x}, steps)
    agree(17, "y = STFT <onesided = 0> (x, step, w, length)", {"x": x}, steps)
    agree(17, "y = STFT <onesided = 0> (x, step, w)", {"x": _x(2, 40, 2)}, steps)


@pytest.mark.parametrize("name", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
def test_windows_are_periodic_or_symmetric(agree: Check, name: str, periodic: int) -> None:
    node = f"w = {name} <periodic = {periodic}> (n) y = Mul (w, x)"
    agree(17, node, {"x": np.ones(10, dtype=np.float32)}, "int64 n = {10}")
    agree(17, f"y = {name} <periodic = {periodic}> (n)", {"n": np.array(7)})


def test_frequencies_are_gathered_into_mel_bins(agree: Check) -> None:
    stored = """int64 bins = {8}, int64 length = {64}, int64 rate = {8192},
        float low = {0}, float high = {4096}"""
    node = "w = MelWeightMatrix (bins, length, rate, low, high) y = MatMul (x, w)"
    agree(17, node, {"x": _x(3, 33)}, stored)


def test_gradients_are_those_of_differences(differentiate: Check) -> None:
    x = {"x": _x(2, 6, 1).astype(np.float64)}
    differentiate(17, "y = DFT <onesided = 1> (x)", x, outputs="double[] y")
    nodes = "n = Constant <value_int = 2> () f = Constant <value_int = 4> ()"
    differentiate(17, f'{nodes} y = STFT (x, n, "", f)', x, outputs="double[] y")
