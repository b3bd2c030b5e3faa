"""LSTM, GRU and RNN: by torch's fused kernels where these have the cell, else step by step.

T steps of N samples, H hidden units, D directions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.graph.view import Node
from tieshare.twin.cells import (
    GRU,
    LSTM,
    RNN,
    Cell,
    Kernel,
    Recurrent,
    States,
    Step,
    activations_of,
)
from tieshare.twin.types import Builder, Operation

# Whether each direction runs from the last step to the first.
_BACKWARDS: Mapping[str, tuple[bool, ...]] = {
    "forward": (False,),
    "reverse": (True,),
    "bidirectional": (False, True),
}


@dataclass(frozen=True)
class _Given:
    """A node's inputs, steps first: (T, N, ...) and states (D, N, H)."""

    x: Tensor
    w: Tensor
    r: Tensor
    b: Tensor | None
    lengths: Tensor | None
    start: States
    peepholes: Tensor | None


def _recurrent(cell: Cell) -> Builder:
    def build(node: Node) -> Operation:
        backwards = _BACKWARDS[node.setting("direction", default="forward")]
        batch_first = node.setting("layout", default=0) == 1
        given_names = node.setting("activations", default=())
        names = tuple(name.decode().lower() for name in given_names)
        names = names or cell.activations * len(backwards)
        kernel, steps = _kernel(node, cell, names), _steps(node, cell, names)

        def run(
            x: Tensor,
            w: Tensor,
            r: Tensor,
            b: Tensor | None = None,
            lengths: Tensor | None = None,
            *rest: Tensor | None,
        ) -> tuple[Tensor, ...]:
            *states, peepholes = (*rest, None, None, None)[: cell.states + 1]
            if batch_first:
                x = x.transpose(0, 1)
                states = [None if state is None else state.transpose(0, 1) for state in states]
            start = tuple(_start(state, x, r) for state in states)
            given = _Given(x, w, r, b, lengths, start, peepholes)
            if kernel is not None and lengths is None and peepholes is None:
                y, last = _fused(kernel, given, backwards)
            else:
                y, last = _stepped(steps, given, backwards)
            if batch_first:
                return y.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in last)
            return y, *last

        return run

    return build


def _kernel(node: Node, cell: Cell, names: Sequence[str]) -> Kernel | None:
    """What computes just what the node asks for; it has the same activations both ways."""
    each = len(cell.activations)
    if node.setting("clip") is not None or names[:each] != names[-each:]:
        return None
    return cell.kernel(node, names[:each])


def _steps(node: Node, cell: Cell, names: Sequence[str]) -> tuple[Step, ...]:
    """One for each direction."""
    activations, each = activations_of(node, names), len(cell.activations)
    return tuple(
        cell.step(node, activations[first : first + each]) for first in range(0, len(names), each)
    )


def _start(state: Tensor | None, x: Tensor, r: Tensor) -> Tensor:
    """The state before the first step; one that was written down for another batch is repeated."""
    directions, _, hidden = r.shape
    samples = x.shape[1]
    if state is None:
        return x.new_zeros(directions, samples, hidden)
    if state.shape[1] == samples:
        return state
    return state[:, :1].expand(-1, samples, -1)


def _fused(
    kernel: Kernel, given: _Given, backwards: tuple[bool, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """All outputs (T, D, N, H), and the last states (D, N, H)."""
    blocks = [_reordered(given.w, kernel.order), _reordered(given.r, kernel.order)]
    if given.b is not None:
        blocks += [_reordered(bias, kernel.order) for bias in given.b.chunk(2, dim=1)]
    weights = [block[place] for place in range(len(backwards)) for block in blocks]
    both, turned = len(backwards) == 2, backwards == (True,)
    x = given.x.flip(0) if turned else given.x
    start: Any = given.start if len(given.start) > 1 else given.start[0]
    has_bias, backward_follows = given.b is not None, torch.is_grad_enabled()
    y, *last = kernel.run(x, start, weights, has_bias, 1, 0.0, backward_follows, both, False)
    y = y.flip(0) if turned else y
    return y.unflatten(2, (len(backwards), -1)).transpose(1, 2), tuple(last)


def _reordered(blocks: Tensor, order: Sequence[int]) -> Tensor:
    """(D, gates * H, ...) with its gates in another order."""
    if len(order) == 1:
        return blocks
    parts = blocks.chunk(len(order), dim=1)
    return torch.cat([parts[place] for place in order], dim=1)


def _stepped(
    steps: Sequence[Step], given: _Given, backwards: tuple[bool, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same, by the cell's formulas."""
    made = [_one_way(steps[place], given, place, back) for place, back in enumerate(backwards)]
    outputs, last = zip(*made, strict=True)
    return torch.stack(outputs, dim=1), tuple(map(torch.stack, zip(*last, strict=True)))


def _one_way(step: Step, given: _Given, place: int, back: bool) -> tuple[Tensor, States]:
    """One direction: its outputs (T, N, H) and last states (N, H).

    Behind the end of a sequence outputs are zero and states stay.
    """
    w_bias, r_bias = (None, None) if given.b is None else given.b[place].chunk(2)
    peepholes = None if given.peepholes is None else given.peepholes[place]
    recurrent = Recurrent(given.r[place], r_bias, peepholes)
    products = F.linear(given.x, given.w[place], w_bias).unbind()
    states = tuple(state[place] for state in given.start)
    outputs = []
    for t in range(len(products))[:: -1 if back else 1]:
        new = step(products[t], states, recurrent)
        output = new[0]
        if given.lengths is not None:
            inside = (given.lengths > t).unsqueeze(1)
            new = tuple(map(torch.where, (inside,) * len(new), new, states))
            output = output * inside
        states = new
        outputs.append(output)
    return torch.stack(outputs[:: -1 if back else 1]), states


BUILDERS: Mapping[str, Builder] = {
    "GRU": _recurrent(GRU),
    "LSTM": _recurrent(LSTM),
    "RNN": _recurrent(RNN),
}
