"""Resize and Upsample."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.resampling import Axis, Sampling, nearest, outside, weights
from tieshare.twin.types import Builder, Operation, option

_TORCH_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


@dataclass(frozen=True)
class _Sizes:
    """How sizes, scales and the region of interest become one Axis for each axis of the input."""

    axes: Sequence[int] | None
    policy: str
    crops: bool

    def of(
        self,
        lengths: Sequence[int],
        roi: Sequence[float] | None,
        scales: Sequence[float] | None,
        sizes: Sequence[int] | None,
    ) -> list[Axis]:
        """One Axis for each of the lengths; scales count where there are any."""
        rank = len(lengths)
        axes = range(rank) if self.axes is None else [axis % rank for axis in self.axes]
        given = list(scales or [])
        if not given:
            given = [size / lengths[axis] for axis, size in zip(axes, sizes or [], strict=True)]
        wanted = list(sizes or [])
        if wanted and self.policy != "stretch":
            chosen = min(given) if self.policy == "not_larger" else max(given)
            given = [chosen] * len(given)
            wanted = [int(chosen * lengths[axis] + 0.5) for axis in axes]
        plan = [Axis(length, length, 1.0, 0.0, 1.0) for length in lengths]
        for place, axis in enumerate(axes):
            start, end = 0.0, 1.0
            if self.crops and roi:
                start, end = roi[place], roi[place + len(axes)]
            scale, length = given[place], lengths[axis]
            # In single precision, as ONNX Runtime has it: 10 * 0.7 is 7.
            size = int(np.float32(length) * np.float32(scale))
            plan[axis] = Axis(length, wanted[place] if wanted else size, scale, start, end)
        return plan


def _resize(node: Node) -> Operation:
    sampling = Sampling(
        mode=node.setting("mode", default="nearest"),
        coordinates=node.setting("coordinate_transformation_mode", default="half_pixel"),
        rounding=node.setting("nearest_mode", default="round_prefer_floor"),
        cubic=node.setting("cubic_coeff_a", default=-0.75),
        antialias=node.setting("antialias", default=0) == 1,
        exclude_outside=node.setting("exclude_outside", default=0) == 1,
    )
    beyond = node.setting("extrapolation_value", default=0.0)
    sizes = _Sizes(
        axes=node.setting("axes"),
        policy=node.setting("keep_aspect_ratio_policy", default="stretch"),
        crops=sampling.coordinates == "tf_crop_and_resize",
    )
    roi, scales, targets = (
        option(node, name, slot) for slot, name in enumerate(("roi", "scales", "sizes"), start=1)
    )

    def run(*inputs: Tensor) -> Tensor:
        x = inputs[0]
        plan = sizes.of(x.shape, roi.of(inputs), scales.of(inputs), targets.of(inputs))
        return _resampled(x, plan, sampling, beyond)

    return run


def _upsample(node: Node) -> Operation:
    """Before opset 11 the coordinates of an entry are its places divided by the scales."""
    sampling = Sampling(node.setting("mode", default="nearest"), "asymmetric", "simple")
    scales, sizes = option(node, "scales", 1), _Sizes(None, "stretch", crops=False)
    return lambda *inputs: _resampled(
        inputs[0], sizes.of(inputs[0].shape, None, scales.of(inputs), None), sampling, 0.0
    )


def _resampled(x: Tensor, plan: Sequence[Axis], sampling: Sampling, beyond: float) -> Tensor:
    mode = _torch_mode(x, plan, sampling)
    if mode is not None:
        align = None if mode == "nearest" else sampling.coordinates == "align_corners"
        return F.interpolate(x, [a.size for a in plan[2:]], mode=mode, align_corners=align)
    for place, axis in enumerate(plan):
        if axis.unchanged:
            continue
        if sampling.mode == "nearest":
            x = x.index_select(place, torch.tensor(nearest(axis, sampling), device=x.device))
        else:
            matrix = torch.tensor(weights(axis, sampling), device=x.device).to(x.dtype)
            x = torch.tensordot(x, matrix, ([place], [1])).movedim(-1, place)
        if sampling.coordinates == "tf_crop_and_resize":
            gone = torch.tensor(outside(axis, sampling), device=x.device)
            x = x.masked_fill(gone.view(-1, *[1] * (x.dim() - place - 1)), beyond)
    return x


def _torch_mode(x: Tensor, plan: Sequence[Axis], sampling: Sampling) -> str | None:
    """What torch calls the same sampling; None where it has none."""
    fits = 3 <= x.dim() <= 5 and x.is_floating_point() and all(a.unchanged for a in plan[:2])
    special = sampling.antialias or sampling.exclude_outside
    if not fits or special or not all(axis.even for axis in plan[2:]):
        return None
    if sampling.mode == "nearest":
        return "nearest" if _copies(plan[2:], sampling) else None
    one = any(axis.size == 1 for axis in plan[2:])
    if sampling.coordinates not in ("half_pixel", "align_corners", "pytorch_half_pixel") or one:
        return None
    if sampling.mode == "linear":
        return _TORCH_LINEAR[x.dim()]
    return "bicubic" if x.dim() == 4 and sampling.cubic == -0.75 else None


def _copies(plan: Sequence[Axis], sampling: Sampling) -> bool:
    """Whether every entry becomes a whole number of copies."""
    if any(axis.size % axis.length for axis in plan):
        return False
    if sampling.coordinates == "asymmetric":
        return sampling.rounding in ("floor", "simple")
    rounds = sampling.rounding.startswith("round")
    return rounds and sampling.coordinates in ("half_pixel", "pytorch_half_pixel")


BUILDERS: Mapping[str, Builder] = {
    "Resize": lambda node: _upsample(node) if node.opset < 11 else _resize(node),
    "Upsample": _upsample,
}
