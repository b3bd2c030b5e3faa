"""A twin that computes without the units that nobody reads: the same outputs, sooner."""

import math
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from tieshare.exports.draft import Draft
from tieshare.exports.prune import keep_units
from tieshare.exports.units import Masks
from tieshare.graph.structure import Structure, Units, structure_of
from tieshare.graph.tensors import Array
from tieshare.twin import Twin, from_onnx
from tieshare.twin.module import channels_last

_NARROWER = 0.8  # of the parameters that are computed with: from here on it is done with fewer


class Narrowing:
    """What training computes with while units of its ``twin`` go: ``network``, at first the twin.

    Call ``follow`` now and then; ``state`` and ``restore`` survive a crash.
    """

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._model = Draft(twin.model).model()
        self._compute_with(None)

    def follow(self, values: Mapping[str, Array]) -> None:
        """Leave out the units that none of these values reads, if they are enough to be worth it.

        They are not to come back: what reads them has to stay zero.
        """
        units = self._structure.alive(values)
        if self._size(units) <= _NARROWER * self._computed:
            self._compute_with(units)

    def state(self) -> Tensor | None:
        """(units,) those that are computed with; None: all."""
        return None if self._units is None else torch.from_numpy(self._units)

    def restore(self, state: Tensor | None) -> None:
        """Compute with these again."""
        self._compute_with(None if state is None else state.numpy())

    @cached_property
    def _structure(self) -> Structure:
        return structure_of(self._model)

    def _size(self, units: Units) -> int:
        """How many parameters there are for these units."""
        stays, twin = self._structure.stays(units), self._twin
        return sum(
            _Cut(name, twin.parameter(name), stays.get(name, {})).size for name in twin.names
        )

    def _compute_with(self, units: Units | None) -> None:
        self._units, twin = units, self._twin
        if units is None:
            self.network: nn.Module = twin
            self._computed = sum(twin.parameter(name).numel() for name in twin.names)
            return
        small = from_onnx(keep_units(self._model, self._structure, units), twin.outputs)
        self.network = Narrow(twin, small, self._structure.stays(units))
        self._computed = self._size(units)


class Narrow(nn.Module):
    """Computes with slices of a twin's parameters and running statistics.

    These stay the twin's, in their whole shapes: gradients flow back to them, and new statistics
    are written back.
    """

    def __init__(self, twin: Twin, small: Twin, stays: Mapping[str, Masks]) -> None:
        super().__init__()
        self.small = small.to(next(twin.parameters()).device)
        whole: dict[str, Tensor] = {name: twin.parameter(name) for name in small.names}
        whole |= {name: twin.statistic(name) for name in small.statistics}
        self._cuts = [_Cut(name, tensor, stays.get(name, {})) for name, tensor in whole.items()]

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """As the twin's."""
        weights = {cut.name: cut.slices() for cut in self._cuts}
        answer: Tensor | tuple[Tensor, ...] = self.small(*inputs, weights=weights)
        if self.training:
            self._keep_statistics(weights)
        return answer

    @torch.no_grad()
    def _keep_statistics(self, weights: Mapping[str, Tensor]) -> None:
        for cut in self._cuts:
            if not cut.whole.requires_grad:
                cut.write(weights[cut.name])


class _Cut:
    """Which of a tensor of the twin stays, by axis."""

    def __init__(self, name: str, whole: Tensor, masks: Masks) -> None:
        self.name, self.whole = name, whole
        self.places = {
            axis: torch.from_numpy(mask.nonzero()[0]).to(whole.device)
            for axis, mask in masks.items()
            if not mask.all()
        }

    @property
    def size(self) -> int:
        """Of what stays."""
        lengths = {axis: len(places) for axis, places in self.places.items()}
        return math.prod(lengths.get(axis, n) for axis, n in enumerate(self.whole.shape))

    def slices(self) -> Tensor:
        """What stays; the tensor itself, if that is all of it."""
        found = self.whole
        for axis, places in self.places.items():
            found = found.index_select(axis, places)
        return channels_last(found) if self.places else found

    def write(self, found: Tensor) -> None:
        """Overwrite what stays of a vector."""
        for axis, places in self.places.items():
            self.whole.index_copy_(axis, places, found)
