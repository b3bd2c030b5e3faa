"""If, Loop and Scan over tensors."""

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from tieshare.graph.view import Node
from tieshare.twin.dtypes import as_tensor
from tieshare.twin.program import Program
from tieshare.twin.types import Builder, Operation

_Maker = Callable[[Node], Operation]
_Values = Sequence[Tensor | None]


def builders(operation: _Maker) -> Mapping[str, Builder]:
    """``operation`` makes what runs the nodes of a body."""
    return {
        "If": lambda node: If(node, operation),
        "Loop": lambda node: Loop(node, operation),
        "Scan": lambda node: (
            BatchedScan(node, operation) if node.opset == 8 else Scan(node, operation)
        ),
    }


class Body(nn.Module):
    """The graph of a control flow node; what it stores is a buffer.

    Call it with its inputs, then all inputs of its node, of which it reads those that it captures.
    """

    def __init__(self, node: Node, name: str, operation: _Maker) -> None:
        super().__init__()
        seen = node.graphs[name]
        self.inputs = len(seen.inputs)
        self._captured = [node.inputs.index(value, node.explicit) for value in seen.captured]
        for place, array in enumerate(seen.tensors.values()):
            self.register_buffer(f"constant_{place}", as_tensor(array))
        sources = [*seen.tensors, *seen.inputs, *seen.captured]
        self.program = Program(seen, seen.outputs, sources, operation)

    def forward(self, given: _Values, around: _Values) -> tuple[Tensor, ...]:
        """The outputs of the graph."""
        captured = [around[slot] for slot in self._captured]
        result: tuple[Tensor, ...] = self.program(*self._buffers.values(), *given, *captured)
        return result


class If(nn.Module):
    """One of two graphs without inputs."""

    def __init__(self, node: Node, operation: _Maker) -> None:
        super().__init__()
        self.yes = Body(node, "then_branch", operation)
        self.no = Body(node, "else_branch", operation)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The first input says which."""
        result: tuple[Tensor, ...] = (self.yes if bool(inputs[0]) else self.no)((), inputs)
        return result


class Loop(nn.Module):
    """Runs its body at most M times, as long as a condition holds.

    The body takes (iteration, condition, state...) and returns (condition, state..., parts...).
    """

    def __init__(self, node: Node, operation: _Maker) -> None:
        super().__init__()
        self.body = Body(node, "body", operation)
        self.states = self.body.inputs - 2
        self.parts = len(node.graphs["body"].outputs) - 1 - self.states

    def forward(
        self, limit: Tensor | None, condition: Tensor | None = None, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """The last state, and each of the parts stacked over the iterations."""
        inputs = (limit, condition, *rest)
        device = next(x.device for x in inputs if x is not None)
        count = None if limit is None else int(limit)
        state: Sequence[Tensor] = rest[: self.states]
        if condition is None:
            condition = torch.ones((), dtype=torch.bool, device=device)
        parts: list[Sequence[Tensor]] = []
        while len(parts) != count and bool(condition):
            step = torch.full((), len(parts), dtype=torch.int64, device=device)
            condition, *results = self.body((step, condition, *state), inputs)
            state = results[: self.states]
            parts.append(results[self.states :])
        if not parts and self.parts:
            # Only a run, which is thrown away, tells the shapes of the empty results.
            step = torch.zeros((), dtype=torch.int64, device=device)
            results = self.body((step, condition, *state), inputs)[1 + self.states :]
            return (*state, *(part.new_empty((0, *part.shape)) for part in results))
        stacked = (torch.stack(part) for part in zip(*parts, strict=True))
        return (*state, *stacked)


class Scan(nn.Module):
    """Runs its body over the steps of sequences: (state..., entry...) to (state..., part...)."""

    def __init__(self, node: Node, operation: _Maker) -> None:
        super().__init__()
        self.body = Body(node, "body", operation)
        scanned = node.attributes["num_scan_inputs"]
        self.states = self.body.inputs - scanned
        parts = len(node.graphs["body"].outputs) - self.states
        self.axes = node.setting("scan_input_axes", default=[0] * scanned)
        self.backward = node.setting("scan_input_directions", default=[0] * scanned)
        self.part_axes = node.setting("scan_output_axes", default=[0] * parts)
        self.prepend = node.setting("scan_output_directions", default=[0] * parts)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The last state, and each of the parts stacked over the steps."""
        given = inputs[self.states : self.body.inputs]
        sequences = [
            x.unbind(axis)[:: -1 if backward else 1]
            for x, axis, backward in zip(given, self.axes, self.backward, strict=True)
        ]
        state, parts = _scanned(self.body, inputs[: self.states], sequences, inputs)
        stacked = (
            torch.stack(part[:: -1 if prepend else 1], axis)
            for part, axis, prepend in zip(parts, self.part_axes, self.prepend, strict=True)
        )
        return (*state, *stacked)


class BatchedScan(nn.Module):
    """Scan of opset 8: axis 0 of everything is the batch, axis 1 of sequences the steps.

    The first input may give the number of steps of each sample; behind them parts are zero.
    """

    def __init__(self, node: Node, operation: _Maker) -> None:
        super().__init__()
        self.body = Body(node, "body", operation)
        scanned = node.attributes["num_scan_inputs"]
        self.states = self.body.inputs - scanned
        self.backward = node.setting("directions", default=[0] * scanned)

    def forward(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """The last states, and the parts, of all samples."""
        lengths, given = inputs[0], inputs[1 : 1 + self.body.inputs]
        samples = [
            self._sample(sample, None if lengths is None else int(lengths[place]), inputs)
            for place, sample in enumerate(zip(*given, strict=True))
        ]
        return tuple(torch.stack(values) for values in zip(*samples, strict=True))

    def _sample(self, given: Sequence[Tensor], length: int | None, around: _Values) -> list[Tensor]:
        longest = len(given[self.states])
        sequences = [
            x[:length].flip(0) if backward else x[:length]
            for x, backward in zip(given[self.states :], self.backward, strict=True)
        ]
        state, parts = _scanned(self.body, given[: self.states], sequences, around)
        padded = [
            torch.cat([torch.stack(part), part[0].new_zeros(longest - len(part), *part[0].shape)])
            for part in parts
        ]
        return [*state, *padded]


def _scanned(
    body: Body,
    state: Sequence[Tensor],
    sequences: Sequence[Iterable[Tensor]],
    around: _Values,
) -> tuple[Sequence[Tensor], list[tuple[Tensor, ...]]]:
    """The last state, and each part with one tensor a step."""
    steps = []
    for entries in zip(*sequences, strict=True):
        results = body((*state, *entries), around)
        steps.append(results[len(state) :])
        state = results[: len(state)]
    return state, list(zip(*steps, strict=True))
