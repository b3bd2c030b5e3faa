"""A twin that computes without the units that nobody reads: the same outputs, sooner."""

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor, nn

from tieshare.exports.draft import Draft
from tieshare.exports.prune import keep_units
from tieshare.exports.units import Masks, size_left
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
        if self._size(units) <= _NARROWER * self._size(self._units):
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

    def _size(self, units: Units | None) -> int:
        """How many parameters there are for these units; None: for all."""
        stays = {} if units is None else self._structure.stays(units)
        twin = self._twin
        return sum(
            size_left(twin.parameter(name).shape, stays.get(name, {})) for name in twin.names
        )

    def _compute_with(self, units: Units | None) -> None:
        self._units = units
        self.network: nn.Module = self._twin
        if units is not None:
            small = from_onnx(keep_units(self._model, self._structure, units), self._twin.outputs)
            self.network = Narrow(self._twin, small, self._structure.stays(units))


class Narrow(nn.Module):
    """Computes with slices of a twin's parameters and running statistics.

    These stay the twin's, in their whole shapes: gradients flow back to them, and new statistics
    are written back.
    """

    def __init__(self, twin: Twin, small: Twin, stays: Mapping[str, Masks]) -> None:
        super().__init__()
        self.small = small.to(next(twin.parameters()).device)
        cuts = [_Cut(name, twin.parameter(name), stays.get(name, {})) for name in small.names]
        self._moved = [
            _Cut(name, twin.statistic(name), stays.get(name, {})) for name in small.statistics
        ]
        self._cuts = [*cuts, *self._moved]

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """As the twin's."""
        weights = {cut.name: cut.slices() for cut in self._cuts}
        answer: Tensor | tuple[Tensor, ...] = self.small(*inputs, weights=weights)
        if self.training:
            for cut in self._moved:
                cut.write(weights[cut.name])
        return answer


class _Cut:
    """Which of a tensor of the twin stays, by axis."""

    def __init__(self, name: str, whole: Tensor, masks: Masks) -> None:
        self.name, self.whole = name, whole
        self.places = {
            axis: torch.from_numpy(mask.nonzero()[0]).to(whole.device)
            for axis, mask in masks.items()
            if not mask.all()
        }

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
