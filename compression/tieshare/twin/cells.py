"""The cells of LSTM, GRU and RNN: one step by ONNX's formulas, and torch's kernel for all steps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.errors import UnsupportedOperator
from tieshare.graph.view import Node

Activation = Callable[[Tensor], Tensor]
States = tuple[Tensor, ...]


@dataclass(frozen=True)
class Recurrent:
    """What one direction reads its last states by.

    ``weight`` is (gates * H, H) and ``bias`` (gates * H,); ``peepholes`` (3 * H,) go from the
    LSTM's c to its gates i, o and f. None: there are none.
    """

    weight: Tensor
    bias: Tensor | None
    peepholes: Tensor | None


@dataclass(frozen=True)
class Kernel:
    """A cell that torch has; ``order`` says which of ONNX's gates stands at each place there."""

    run: Callable[..., tuple[Tensor, ...]]
    order: tuple[int, ...]


# From a step's product with W and its bias, (N, gates * H), and the states before, (N, H) each, to
# the states after, the output first.
Step = Callable[[Tensor, States, Recurrent], States]


@dataclass(frozen=True)
class Cell:
    """A cell as its operator defines it.

    ``states``       what goes from step to step: h, or h and c.
    ``activations``  those of one direction, where the node names none.
    ``step``         makes a step from a node and the activations of one direction.
    ``kernel``       the same cell in torch, from a node and the activations' names; None: torch
                     has none such.
    """

    states: int
    activations: tuple[str, ...]
    step: Callable[[Node, Sequence[Activation]], Step]
    kernel: Callable[[Node, Sequence[str]], Kernel | None]


def activations_of(node: Node, names: Sequence[str]) -> tuple[Activation, ...]:
    """The functions of these names, in small letters, with the node's alpha and beta.

    Those that have an alpha, or a beta, take one from the node's lists in turn.
    UnsupportedOperator: ONNX knows no such function.
    """
    for name in names:
        if name not in _PLAIN and name not in _SCALED:
            reason = f"its activation {name!r} is not known"
            raise UnsupportedOperator(
                node=node.name, operator=node.operator, opset=node.opset, reason=reason
            )
    alphas: Iterator[float] = iter(node.setting("activation_alpha", default=()))
    betas: Iterator[float] = iter(node.setting("activation_beta", default=()))
    return tuple(_activation(name, alphas, betas) for name in names)


def _activation(name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    if name in _PLAIN:
        return _PLAIN[name]
    make, alpha, beta = _SCALED[name]
    return make(next(alphas, alpha), beta if beta is None else next(betas, beta))


def _clipped(node: Node, run: Activation) -> Activation:
    """The node's clip bounds what an activation is given."""
    clip = node.setting("clip")
    return run if clip is None else lambda x: run(x.clamp(-clip, clip))


_PLAIN: Mapping[str, Activation] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "tanh": torch.tanh,
}
# What makes the function, and its alpha and beta where the node has none; beta None: it takes none.
_SCALED: Mapping[str, tuple[Callable[..., Activation], float, float | None]] = {
    "affine": (lambda a, b: lambda x: a * x + b, 1.0, 0.0),
    "elu": (lambda a, _: lambda x: F.elu(x, a), 1.0, None),
    "hardsigmoid": (lambda a, b: lambda x: (a * x + b).clamp(0, 1), 0.2, 0.5),
    "leakyrelu": (lambda a, _: lambda x: F.leaky_relu(x, a), 0.01, None),
    "scaledtanh": (lambda a, b: lambda x: a * torch.tanh(b * x), 1.0, 1.0),
    "thresholdedrelu": (lambda a, _: lambda x: F.threshold(x, a, 0.0), 1.0, None),
}


def _lstm(node: Node, activations: Sequence[Activation]) -> Step:
    f, g = (_clipped(node, run) for run in activations[:2])
    h = activations[2]  # ONNX Runtime clips the gates alone, not c
    coupled = node.setting("input_forget", default=0) == 1

    def step(x: Tensor, states: States, recurrent: Recurrent) -> States:
        hidden, cell = states
        gates = x + F.linear(hidden, recurrent.weight, recurrent.bias)
        i, o, forget, c = gates.chunk(4, dim=1)  # (N, H) each
        if recurrent.peepholes is not None:
            p_i, p_o, p_forget = recurrent.peepholes.chunk(3)
            i, forget = i + p_i * cell, forget + p_forget * cell
        i = f(i)
        forget = 1 - i if coupled else f(forget)
        cell = forget * cell + i * g(c)
        if recurrent.peepholes is not None:
            o = o + p_o * cell
        return f(o) * h(cell), cell

    return step


def _gru(node: Node, activations: Sequence[Activation]) -> Step:
    f, g = (_clipped(node, run) for run in activations)
    reset_after = node.setting("linear_before_reset", default=0) != 0

    def step(x: Tensor, states: States, recurrent: Recurrent) -> States:
        (hidden,) = states
        size, bias = hidden.shape[1], recurrent.bias
        x_zr, x_h = x.split((2 * size, size), dim=1)
        r_zr, r_h = recurrent.weight.split((2 * size, size))
        b_zr, b_h = (None, None) if bias is None else bias.split((2 * size, size))
        z, r = f(x_zr + F.linear(hidden, r_zr, b_zr)).chunk(2, dim=1)  # (N, H) each
        if reset_after:
            candidate = g(x_h + r * F.linear(hidden, r_h, b_h))
        else:
            candidate = g(x_h + F.linear(r * hidden, r_h, b_h))
        return ((1 - z) * candidate + z * hidden,)

    return step


def _rnn(node: Node, activations: Sequence[Activation]) -> Step:
    f = _clipped(node, activations[0])

    def step(x: Tensor, states: States, recurrent: Recurrent) -> States:
        return (f(x + F.linear(states[0], recurrent.weight, recurrent.bias)),)

    return step


def _lstm_kernel(node: Node, names: Sequence[str]) -> Kernel | None:
    """torch: i f g o; ONNX: i o f g."""
    if tuple(names) != LSTM.activations or node.setting("input_forget", default=0) == 1:
        return None
    return Kernel(torch.lstm, (0, 2, 3, 1))


def _gru_kernel(node: Node, names: Sequence[str]) -> Kernel | None:
    """torch: r z n, reset after the product with R; ONNX: z r n, and by default before it."""
    if tuple(names) != GRU.activations or node.setting("linear_before_reset", default=0) == 0:
        return None
    return Kernel(torch.gru, (1, 0, 2))


def _rnn_kernel(_: Node, names: Sequence[str]) -> Kernel | None:
    kernels = {"relu": torch.rnn_relu, "tanh": torch.rnn_tanh}
    return Kernel(kernels[names[0]], (0,)) if names[0] in kernels else None


LSTM = Cell(2, ("sigmoid", "tanh", "tanh"), _lstm, _lstm_kernel)
GRU = Cell(1, ("sigmoid", "tanh"), _gru, _gru_kernel)
RNN = Cell(1, ("tanh",), _rnn, _rnn_kernel)
