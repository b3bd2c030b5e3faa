"""The twin: an ONNX graph that torch runs and trains, its tensors under their ONNX names."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from onnx import ModelProto
from torch import Tensor, nn

from tieshare.errors import UnsupportedModel
from tieshare.graph.batch import with_free_batch
from tieshare.graph.check import check_operators
from tieshare.graph.scale_free import ScaleFree, scale_free
from tieshare.graph.tensors import Array
from tieshare.graph.view import View, view
from tieshare.graph.weights import weights_of
from tieshare.twin.dtypes import as_tensor
from tieshare.twin.program import Program
from tieshare.twin.table import operation


def from_onnx(model: ModelProto, outputs: Sequence[str] | None = None) -> "Twin":
    """Build the part of the graph that these values depend on, in evaluation mode.

    ``outputs`` are value names, graph outputs by default. UnsupportedOperator: a node of that
    part can't be trained. UnsupportedModel: there is no such value.
    """
    seen = view(with_free_batch(model))
    wanted = tuple(seen.outputs if outputs is None else outputs)
    for name in wanted:
        if name not in seen.producers and name not in seen.inputs and name not in seen.tensors:
            raise UnsupportedModel(f"the graph has no value {name!r}", where=name)
    check_operators(model, wanted)
    return Twin(model, seen, wanted).eval()


class Twin(nn.Module):
    """Call it with the graph's inputs in order; it returns the asked values in order.

    Each stored float tensor that a gradient reaches is one parameter, however many nodes use
    it; running statistics and constants are buffers. By their ONNX names, ``names`` lists the
    parameters, ``statistics`` the running statistics, and ``scale_free`` the
    layers that only a batch norm reads. ``model``: what it was built from.
    """

    def __init__(self, model: ModelProto, seen: View, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        weights = weights_of(seen, outputs)
        self.names, self.statistics = weights.trained, weights.statistics
        self.scale_free = _all_here(scale_free(seen), {*self.names, *self.statistics})
        constants = _constants(seen, outputs, {*self.names, *self.statistics})
        self.inputs, self.outputs = seen.inputs, outputs
        sources = [*self.names, *self.statistics, *constants, *self.inputs]
        self._places = {name: place for place, name in enumerate(sources)}
        for name in self.names:
            weight = nn.Parameter(channels_last(as_tensor(seen.tensors[name])))
            self.register_parameter(f"weight_{self._places[name]}", weight)
        for name in (*self.statistics, *constants):
            self.register_buffer(f"constant_{self._places[name]}", as_tensor(seen.tensors[name]))
        self.program = Program(seen, outputs, sources, operation)

    def forward(
        self, *inputs: Tensor, weights: Mapping[str, Tensor] | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """Run the graph; ``weights`` take the place of stored tensors, by value name."""
        if len(inputs) != len(self.inputs):
            raise TypeError(f"the graph has {len(self.inputs)} inputs, {len(inputs)} were given")
        sources = [*self._parameters.values(), *self._buffers.values(), *inputs]
        for name, value in (weights or {}).items():
            sources[self._places[name]] = value
        results: tuple[Tensor, ...] = self.program(*sources)
        return results[0] if len(results) == 1 else results

    def parameter(self, name: str) -> nn.Parameter:
        """The parameter of a stored tensor; KeyError where it is not trained."""
        if name not in self.names:
            raise KeyError(name)
        return self.get_parameter(f"weight_{self._places[name]}")

    def statistic(self, name: str) -> Tensor:
        """The buffer of a running mean or variance; KeyError where it is none."""
        if name not in self.statistics:
            raise KeyError(name)
        return self.get_buffer(f"constant_{self._places[name]}")

    def tensors(self) -> dict[str, Array]:
        """Copies of all that training has changed, running statistics included."""
        changed: dict[str, Array] = {}
        for name in self.names:
            changed[name] = self.parameter(name).detach().cpu().numpy().copy()
        for name in self.statistics:
            changed[name] = self.statistic(name).cpu().numpy().copy()
        return changed


def channels_last(weight: Tensor) -> Tensor:
    """The same, of a 2-D convolution laid out as its kernels run fastest in training.

    What such a convolution puts out is laid out like its weight, and so is all that follows.
    """
    if weight.ndim != 4:
        return weight
    # Of one channel it is in any order, and .contiguous() would leave it: its strides tell more.
    return torch.empty_like(weight, memory_format=torch.channels_last).copy_(weight)


def _all_here(found: Iterable[ScaleFree], names: set[str]) -> tuple[ScaleFree, ...]:
    """Those of a part of the graph."""
    return tuple(
        one
        for one in found
        if {one.weight, one.bias or one.weight, one.mean, one.variance} <= names
    )


def _constants(seen: View, outputs: Sequence[str], trained: set[str]) -> tuple[str, ...]:
    """Stored tensors that nodes read and that training leaves alone."""
    read = [name for node in seen.needed(outputs) for name in node.inputs]
    stored = (name for name in (*read, *outputs) if name in seen.tensors and name not in trained)
    return tuple(dict.fromkeys(stored))
