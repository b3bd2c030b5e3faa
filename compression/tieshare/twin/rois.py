"""Pooling over regions of interest."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from tieshare.graph.view import Node
from tieshare.twin.types import Builder, Operation


@dataclass(frozen=True, eq=False)
class _Samples:
    """Along one axis: where the bins of the regions look, (R regions, P bins, G samples).

    ``entries``  those of the input around each sample, the last before it and the first behind.
    ``shares``   what each of the two counts; 0 for samples outside of the input.
    ``counts``   (R,) samples in each bin; what follows them is there for the shape alone.
    """

    entries: tuple[Tensor, Tensor]
    shares: tuple[Tensor, Tensor]
    counts: Tensor


def _samples(start: Tensor, size: Tensor, bins: int, ratio: int, length: int) -> _Samples:
    """Regions (R,) on an axis of this length; ``ratio`` samples a bin, 0: one for each entry."""
    width = size / bins
    counts = torch.full_like(width, ratio) if ratio else width.ceil().clamp(min=0)
    most = ratio or max([1, *counts.int().tolist()])
    sample = torch.arange(most, device=start.device)
    share = (sample + 0.5) / counts.clamp(min=1)[:, None]  # (R, G)
    bin_starts = torch.arange(bins, device=start.device)[:, None] + share[:, None]  # (R, P, G)
    places = start[:, None, None] + bin_starts * width[:, None, None]
    inside = (places >= -1) & (places <= length) & (sample < counts[:, None, None])
    places = places.clamp(0, length - 1)
    low = places.floor()
    high_share = places - low
    return _Samples(
        entries=(low.long(), (low.long() + 1).clamp(max=length - 1)),
        shares=((1 - high_share) * inside, high_share * inside),
        counts=counts,
    )


def _roi_align(node: Node) -> Operation:
    """He et al., "Mask R-CNN", ICCV 2017, section 3: bins look between entries of the input.

    Mode "max" takes the largest of the weighted entries around the samples, not of their sums,
    as ONNX's definition and ONNX Runtime do.
    """
    largest = node.setting("mode", default="avg") == "max"
    bins = node.setting("output_height", default=1), node.setting("output_width", default=1)
    ratio = node.setting("sampling_ratio", default=0)
    scale = node.setting("spatial_scale", default=1.0)
    default = "half_pixel" if node.opset >= 16 else "output_half_pixel"
    half = node.setting("coordinate_transformation_mode", default=default) == "half_pixel"

    def run(x: Tensor, rois: Tensor, batch: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        left, top, right, bottom = (rois * scale - (0.5 if half else 0.0)).unbind(1)
        wide, high = right - left, bottom - top
        if not half:
            wide, high = wide.clamp(min=1), high.clamp(min=1)
        rows = _samples(top, high, bins[0], ratio, height)
        columns = _samples(left, wide, bins[1], ratio, width)
        flat = x.movedim(1, -1).reshape(-1, channels)  # (N * H * W, C)
        parts: list[Tensor] = []
        for a, b in product((0, 1), repeat=2):
            row = batch[:, None, None].long() * height + rows.entries[a]  # (R, P, G)
            at = row[..., None, None] * width + columns.entries[b][:, None, None]
            share = rows.shares[a][..., None, None] * columns.shares[b][:, None, None]
            parts.append(flat[at] * share[..., None])  # (R, P, G, Q, K, C)
        if largest:
            real = _real(rows)[..., None, None] & _real(columns)[:, None, None]
            best = torch.stack(parts).amax(0).where(real[..., None], -torch.inf).amax((2, 4))
            return best.where(best > -torch.inf, 0).movedim(-1, 1)
        counts = (rows.counts * columns.counts).clamp(min=1)
        total = torch.stack(parts).sum((0, 3, 5)).movedim(-1, 1)
        return total / counts[:, None, None, None]

    return run


def _real(samples: _Samples) -> Tensor:
    """(R, 1, G): which samples count."""
    places = torch.arange(samples.shares[0].shape[2], device=samples.counts.device)
    return places < samples.counts[:, None, None]


def _max_roi_pool(node: Node) -> Operation:
    """Girshick, "Fast R-CNN", ICCV 2015, section 2.1: bins of whole entries, which may overlap.

    A region is a batch index and its corners, each (x, y); a bin outside of the input is 0.
    """
    bins = node.attributes["pooled_shape"]
    scale = node.setting("spatial_scale", default=1.0)

    def run(x: Tensor, rois: Tensor) -> Tensor:
        batch, left, top, right, bottom = rois.unbind(1)
        y = x[batch.long()]  # (R, C, H, W)
        y = _bins(y, top * scale, bottom * scale, bins[0])
        y = _bins(y.mT, left * scale, right * scale, bins[1]).mT
        return y.where(y > -torch.inf, 0)

    return run


def _bins(x: Tensor, first: Tensor, last: Tensor, bins: int) -> Tensor:
    """The largest entry in each bin of rows from ``first`` to ``last`` (R,): (R, C, bins, W)."""
    first, last = _rounded(first), _rounded(last)
    width = (last - first + 1).clamp(min=1) / bins
    rows = torch.arange(x.shape[2], device=x.device)
    found = []
    for index in range(bins):
        begin, end = first + (index * width).floor(), first + ((index + 1) * width).ceil()
        seen = (rows >= begin[:, None]) & (rows < end[:, None])  # (R, H)
        found.append(x.where(seen[:, None, :, None], -torch.inf).amax(2))
    return torch.stack(found, dim=2)


def _rounded(x: Tensor) -> Tensor:
    """To the next whole number, halves away from zero."""
    return x.sign() * (x.abs() + 0.5).floor()


BUILDERS: Mapping[str, Builder] = {
    "MaxRoiPool": _max_roi_pool,
    "RoiAlign": _roi_align,
}
