"""Fourier transforms, their windows and filters."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.dtypes import torch_dtype
from tieshare.twin.filled import number
from tieshare.twin.types import Builder, Operation, option


def _dft(node: Node) -> Operation:
    """The last axis of a signal holds its real part, or the real and the imaginary part."""
    inverse = node.setting("inverse", default=0) == 1
    onesided = node.setting("onesided", default=0) == 1
    length = option(node, "dft_length", 1)
    axis = option(node, "axis", 2, default=-2 if node.opset >= 20 else 1)

    def run(*inputs: Tensor) -> Tensor:
        x, size = inputs[0], length.of(inputs)
        points, along = None if size is None else int(number(size)), number(axis.of(inputs))
        along = along + 1 if along < 0 else along
        if inverse and onesided:
            signal: Tensor = torch.fft.irfft(_complex(x), points, along)
            return signal.unsqueeze(-1)
        return torch.view_as_real(_transform(x, points, along, inverse, onesided))

    return run


def _complex(x: Tensor) -> Tensor:
    if x.shape[-1] == 1:
        return torch.complex(x, torch.zeros_like(x)).squeeze(-1)
    return torch.view_as_complex(x.contiguous())


def _transform(x: Tensor, points: int | None, axis: int, inverse: bool, onesided: bool) -> Tensor:
    result: Tensor
    if inverse:
        result = torch.fft.ifft(_complex(x), points, axis)
    elif onesided:
        result = torch.fft.rfft(x[..., 0], points, axis)
    else:
        result = torch.fft.fft(x[..., 0] if x.shape[-1] == 1 else _complex(x), points, axis)
    return result


def _stft(node: Node) -> Operation:
    """Signals (batch, samples, 1 or 2) to (batch, frames, frequencies, 2)."""
    onesided = node.setting("onesided", default=1) == 1
    step, length = option(node, "frame_step", 1), option(node, "frame_length", 3)

    def run(*inputs: Tensor) -> Tensor:
        x, window = inputs[0], inputs[2] if len(inputs) > 2 else None
        size = number(length.of(inputs))
        if size is None:
            size = x.shape[1] if window is None else len(window)
        frames = x.unfold(1, size, number(step.of(inputs)))  # (batch, frames, 1 or 2, size)
        frames = frames if window is None else frames * window
        one = onesided and x.shape[-1] == 1
        return torch.view_as_real(_transform(frames.transpose(2, 3), None, 2, False, one))

    return run


def _window(node: Node, terms: Sequence[float]) -> Operation:
    """sum_k terms[k] cos(2 pi k n / N), where N is the size, or one less if it is symmetric."""
    size = option(node, "size", 0)
    periodic = node.setting("periodic", default=1)
    dtype = torch_dtype(node.setting("output_datatype", default=1))

    def run(*inputs: Tensor) -> Tensor:
        count = number(size.of(inputs))
        steps = torch.arange(count, dtype=torch.float64, device=inputs[0].device)
        angles = steps * (2 * np.pi / max(count if periodic else count - 1, 1))
        waves = [term * torch.cos(k * angles) for k, term in enumerate(terms)]
        return torch.stack(waves).sum(0).to(dtype)

    return run


def _mel_weight_matrix(node: Node) -> Operation:
    """Triangles, equally wide on the mel scale 2595 log10(1 + f / 700), over frequencies."""
    names = "num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"
    options = [option(node, name, slot) for slot, name in enumerate(names)]
    dtype = torch_dtype(node.setting("output_datatype", default=1))

    def run(*inputs: Tensor) -> Tensor:
        bins, length, rate, lowest, highest = (number(item.of(inputs)) for item in options)
        low, high = 2595 * np.log10(1 + np.array([lowest, highest]) / 700)
        mels = low + (high - low) / (bins + 2) * np.arange(bins + 2)
        edges = np.floor((length + 1) * 700 * (10 ** (mels / 2595) - 1) / rate).astype(int)
        return torch.tensor(
            _triangles(edges, length // 2 + 1), dtype=dtype, device=inputs[0].device
        )

    return run


def _triangles(edges: np.ndarray, frequencies: int) -> np.ndarray:
    """Each rises from one edge to the next and falls to the one after that."""
    low, center, high = edges[:-2], edges[1:-1], edges[2:]
    places = np.arange(frequencies)[:, None]
    rising = np.where(center > low, (places - low) / np.maximum(center - low, 1), 1)
    falling = (high - places) / np.maximum(high - center, 1)
    inside = ((places >= low) & (places < high)) | (places == center)
    return np.where(inside, np.where(places <= center, rising, falling), 0)


BUILDERS: Mapping[str, Builder] = {
    "BlackmanWindow": partial(_window, terms=(0.42, -0.5, 0.08)),
    "DFT": _dft,
    "HammingWindow": partial(_window, terms=(25 / 46, -21 / 46)),
    "HannWindow": partial(_window, terms=(0.5, -0.5)),
    "MelWeightMatrix": _mel_weight_matrix,
    "STFT": _stft,
}
