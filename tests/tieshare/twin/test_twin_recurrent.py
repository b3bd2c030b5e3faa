"""LSTM, GRU and RNN in the twin: fused or step by step they are those of ONNX Runtime."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor

from tieshare.errors import UnsupportedOperator
from tieshare.twin import from_onnx

Make = Callable[[str], ModelProto]
Check = Callable[..., None]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STATES = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",)}
T, N, X, H = 4, 3, 2, 2
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def _node(operator: str, given: str = "x, w, r, b", **options: Any) -> str:
    """With all outputs; words among the options are quoted."""
    texts = {
        name: f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"')
        for name, value in ({"hidden_size": H} | options).items()
    }
    listed = ", ".join(f"{name} = {value}" for name, value in texts.items())
    last = ", ".join(f"y_{state}" for state in STATES[operator])
    return f"y, {last} = {operator} <{listed}> ({given})"


def _outputs(operator: str, dtype: str = "float") -> str:
    return ", ".join(f"{dtype}[] {name}" for name in ("y", *(f"y_{s}" for s in STATES[operator])))


def _inputs(operator: str, directions: int, **more: Any) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    gates = GATES[operator] * H
    shapes = {
        "x": (T, N, X),
        "w": (directions, gates, X),
        "r": (directions, gates, H),
        "b": (directions, 2 * gates),
        "h": (directions, N, H),
        "c": (directions, N, H),
        "p": (directions, 3 * H),
    }
    wanted = ("x", "w", "r", "b", *more.get("names", ()))
    arrays = {name: rng.uniform(-1, 1, shapes[name]) for name in wanted}
    return {name: array.astype(more.get("dtype", np.float32)) for name, array in arrays.items()}


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("options", [{}, {"clip": 0.4}])
def test_cells_run_both_ways(
    agree: Check, operator: str, direction: str, options: dict[str, Any]
) -> None:
    inputs, outputs = _inputs(operator, DIRECTIONS[direction]), _outputs(operator)
    for opset in (7, 14, 22):
        agree(opset, _node(operator, direction=direction, **options), inputs, "", outputs)
    del inputs["b"]
    agree(14, _node(operator, "x, w, r", direction=direction, **options), inputs, "", outputs)


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("lengths", ['""', "lengths"])
def test_states_may_be_given_and_sequences_may_end_early(
    agree: Check, operator: str, direction: str, lengths: str
) -> None:
    states = STATES[operator]
    inputs = _inputs(operator, DIRECTIONS[direction], names=states)
    given = ", ".join(("x, w, r, b", lengths, *states))
    node = _node(operator, given, direction=direction)
    agree(14, node, inputs, "int32[3] lengths = {4, 1, 3}", _outputs(operator))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("options", [{}, {"input_forget": 1}, {"clip": 0.3}])
def test_the_lstm_has_peepholes_and_may_couple_its_gates(
    agree: Check, direction: str, options: dict[str, Any]
) -> None:
    inputs = _inputs("LSTM", DIRECTIONS[direction], names=("h", "c", "p"))
    node = _node("LSTM", 'x, w, r, b, "", h, c, p', direction=direction, **options)
    agree(14, node, inputs, "", _outputs("LSTM"))
    node = _node("LSTM", 'x, w, r, b, "", h, c', direction=direction, **options)
    del inputs["p"]
    agree(14, node, inputs, "", _outputs("LSTM"))


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("reset", [0, 1])
@pytest.mark.parametrize("lengths", ["", ', "", h', ", lengths, h"])
def test_the_gru_resets_before_or_after_its_product(
    agree: Check, direction: str, reset: int, lengths: str
) -> None:
    inputs = _inputs("GRU", DIRECTIONS[direction], names=("h",) if lengths else ())
    node = _node("GRU", f"x, w, r, b{lengths}", direction=direction, linear_before_reset=reset)
    agree(14, node, inputs, "int32[3] lengths = {2, 4, 3}", _outputs("GRU"))


@pytest.mark.parametrize(
    "options",
    [
        {"activations": ["Relu"]},
        {"activations": ["Sigmoid"]},
        {"activations": ["Softsign"]},
        {"activations": ["Softplus"]},
        {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]},
        {"activations": ["ScaledTanh"], "activation_alpha": [0.5], "activation_beta": [1.5]},
        {"activations": ["HardSigmoid"], "activation_alpha": [0.3], "activation_beta": [0.4]},
        {"activations": ["HardSigmoid"]},
        {"activations": ["Elu"], "activation_alpha": [0.7]},
        {"activations": ["LeakyRelu"], "activation_alpha": [0.3]},
        {"activations": ["LeakyRelu"]},
        {"activations": ["ThresholdedRelu"], "activation_alpha": [0.2]},
    ],
)
def test_cells_may_have_other_activations(agree: Check, options: dict[str, Any]) -> None:
    agree(14, _node("RNN", **options), _inputs("RNN", 1), "", _outputs("RNN"))


def test_each_direction_has_its_own_activations_and_their_numbers_in_turn(agree: Check) -> None:
    node = _node(
        "RNN",
        direction="bidirectional",
        activations=["LeakyRelu", "ScaledTanh"],
        activation_alpha=[0.3, 0.5],
        activation_beta=[1.5],
    )
    agree(14, node, _inputs("RNN", 2), "", _outputs("RNN"))
    node = _node("RNN", direction="bidirectional", activations=["Tanh", "Relu"])
    agree(14, node, _inputs("RNN", 2), "", _outputs("RNN"))
    node = _node("LSTM", activations=["HardSigmoid", "Relu", "Elu"], activation_alpha=[0.3, 0.7])
    agree(14, node, _inputs("LSTM", 1), "", _outputs("LSTM"))


def test_an_activation_that_onnx_lacks_is_refused(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 14]>
        odd (float[5, 3, 2] x, float[1, 4, 2] w, float[1, 4, 4] r) => (float[5, 1, 3, 4] y) {
            [cell] y = RNN <hidden_size = 4, activations = ["Cube"]> (x, w, r)
        }""")
    with pytest.raises(UnsupportedOperator, match="'cube'"):
        from_onnx(model)


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("lengths", ['""', "lengths"])
def test_batches_may_come_first(from_text: Make, operator: str, lengths: str) -> None:
    """ONNX Runtime can't do this: the result is compared with that for steps first."""
    states = STATES[operator]
    inputs = _inputs(operator, 2, names=states)
    names = ", ".join(states)
    texts = [
        _node(operator, f"x, w, r, b, {lengths}, {names}", direction="bidirectional", layout=layout)
        for layout in (0, 1)
    ]
    declared = ", ".join(f"float[] {name}" for name in inputs)
    twins = [
        from_onnx(
            from_text(f"""
            <ir_version: 8, opset_import: ["" : 14]>
            cell ({declared}) => ({_outputs(operator)}) <int32[3] lengths = {{4, 1, 3}}> {{
                {text}
            }}""")
        )
        for text in texts
    ]
    given_arrays = {name: torch.from_numpy(array) for name, array in inputs.items()}
    y, *last = twins[0](*given_arrays.values())
    for name in ("x", *states):
        given_arrays[name] = given_arrays[name].transpose(0, 1)
    y_first, *last_first = twins[1](*given_arrays.values())
    torch.testing.assert_close(y_first, y.permute(2, 0, 1, 3))
    for found, expected in zip(last_first, last, strict=True):
        torch.testing.assert_close(found, expected.transpose(0, 1))


@pytest.mark.parametrize(
    ("operator", "options"),
    [
        ("LSTM", {}),
        ("LSTM", {"clip": 0.4}),
        ("GRU", {}),
        ("GRU", {"linear_before_reset": 1}),
        ("RNN", {}),
        ("RNN", {"activations": ["Softsign", "Softplus"]}),
    ],
)
def test_all_weights_and_states_get_their_gradients(
    differentiate: Check, operator: str, options: dict[str, Any]
) -> None:
    states = STATES[operator]
    given = ", ".join(('x, w, r, b, ""', *states))
    node = _node(operator, given, direction="bidirectional", **options)
    inputs = _inputs(operator, 2, names=states, dtype=np.float64)
    differentiate(14, node, inputs, _outputs(operator, "double"))


def test_peepholes_get_their_gradient(differentiate: Check) -> None:
    inputs = _inputs("LSTM", 1, names=("h", "c", "p"), dtype=np.float64)
    node = _node("LSTM", 'x, w, r, b, "", h, c, p', direction="reverse", input_forget=1)
    differentiate(14, node, inputs, _outputs("LSTM", "double"))


def test_behind_the_end_of_a_sequence_nothing_has_a_gradient(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 14]>
        cell (float[5, 2, 2] x) => (float[5, 1, 2, 4] y)
        <float[1, 12, 2] w, float[1, 12, 4] r, float[1, 24] b, int32[2] lengths = {2, 5}> {
            y = GRU <hidden_size = 4> (x, w, r, b, lengths)
        }""")
    x = torch.ones(5, 2, 2, requires_grad=True)
    y = from_onnx(model)(x)
    assert isinstance(y, Tensor)
    y.sum().backward()
    assert x.grad is not None
    assert y[2:, :, 0].abs().max() == 0
    assert x.grad[2:, 0].abs().max() == 0
    assert x.grad[:, 1].abs().min() > 0


def test_a_state_that_was_stored_for_one_batch_size_serves_any(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 8, opset_import: ["" : 14]>
        cell (float[t, n, 2] x) => (float[t, 1, n, 4] y, float[1, n, 4] h)
        <float[1, 4, 2] w, float[1, 4, 4] r, float[1, 8] b, float[1, 1, 4] start> {
            y, h = RNN <hidden_size = 4> (x, w, r, b, "", start)
        }""")
    twin = from_onnx(model)
    one = torch.randn((5, 1, 2), generator=torch.Generator().manual_seed(0))
    y, h = twin(one)
    y3, h3 = twin(one.expand(5, 3, 2))
    torch.testing.assert_close(y3, y.expand(5, 1, 3, 4))
    torch.testing.assert_close(h3, h.expand(1, 3, 4))
