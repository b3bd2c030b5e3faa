"""Attention in the twin: heads, masks, caches, windows, rotations and the linear kind."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from tieshare.twin import from_onnx

Check = Callable[..., None]
Make = Callable[[str], ModelProto]
Sizes = tuple[int, ...]
CACHED = "float[] y, float[] present_key, float[] present_value"


def draw(**shapes: Sizes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def heads(q: int = 2, kv: int = 2, size: int = 4) -> dict[str, np.ndarray]:
    return draw(q=(2, q, 3, 4), k=(2, kv, 5, 4), v=(2, kv, 5, size))


@pytest.mark.parametrize(
    "options", ["scale = 0.3", "is_causal = 1", "softcap = 1.5", "softmax_precision = 1"]
)
@pytest.mark.parametrize(("q", "kv", "size"), [(2, 2, 4), (6, 2, 4), (3, 1, 6)])
def test_attention_computes_what_onnx_runtime_computes(
    agree: Check, options: str, q: int, kv: int, size: int
) -> None:
    agree(23, f"y = Attention <{options}> (q, k, v)", heads(q, kv, size))
    packed = {
        name: x.transpose(0, 2, 1, 3).reshape(2, x.shape[2], -1)
        for name, x in heads(q, kv, size).items()
    }
    counts = f"q_num_heads = {q}, kv_num_heads = {kv}"
    agree(23, f"y = Attention <{options}, {counts}> (q, k, v)", packed)


@pytest.mark.parametrize("shape", [(3, 5), (4, 3, 5), (2, 1, 3, 5), (2, 4, 3, 5)])
@pytest.mark.parametrize("options", ["is_causal = 0", "is_causal = 1", "softcap = 2.0"])
@pytest.mark.parametrize("kind", ["float", "bool"])
def test_masks_of_numbers_and_of_truth_values_broadcast(
    agree: Check, shape: Sizes, options: str, kind: str
) -> None:
    inputs = heads(4, 2) | draw(mask=shape)
    if kind == "bool":
        inputs["mask"] = inputs["mask"] > -0.5
    agree(23, f"y = Attention <{options}> (q, k, v, mask)", inputs)


@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", ["mask", '""'])
def test_the_cache_lies_before_the_keys_and_is_handed_on(
    agree: Check, causal: int, mask: str
) -> None:
    inputs = heads(4, 2) | draw(mask=(3, 9), past_key=(2, 2, 4, 4), past_value=(2, 2, 4, 4))
    if mask != "mask":
        del inputs["mask"]
    call = f"(q, k, v, {mask}, past_key, past_value)"
    nodes = f"y, present_key, present_value = Attention <is_causal = {causal}> {call}"
    agree(23, nodes, inputs, outputs=CACHED)


@pytest.mark.parametrize("causal", [0, 1])
def test_lengths_hide_keys_and_say_where_the_queries_stand(agree: Check, causal: int) -> None:
    inputs = heads() | draw(mask=(3, 5)) | {"lengths": np.array([4, 3])}
    agree(24, f'y = Attention <is_causal = {causal}> (q, k, v, mask, "", "", lengths)', inputs)


def test_keys_behind_a_short_mask_are_not_seen_from_opset_24_on(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 10, opset_import: ["" : 24]>
        short (float[1, 1, 3, 4] q, float[1, 1, 5, 4] k, bool[3, 4] mask) => (float[] y) {
            y = Attention (q, k, k, mask)
        }""")
    q, k = torch.randn(1, 1, 3, 4), torch.randn(1, 1, 5, 4)
    y = from_onnx(model)(q, k, torch.ones(3, 4, dtype=torch.bool))
    torch.testing.assert_close(
        y, F.scaled_dot_product_attention(q, k[:, :, :4], k[:, :, :4]), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
@pytest.mark.parametrize("options", ["softcap = 1.5", "scale = 0.2"])
def test_every_step_of_the_scores_can_be_shown(agree: Check, mode: int, options: str) -> None:
    inputs = heads(4, 2) | draw(mask=(3, 5))
    nodes = f'y, "", "", shown = Attention <{options}, qk_matmul_output_mode = {mode}>'
    agree(23, f"{nodes} (q, k, v, mask)", inputs, outputs="float[] y, float[] shown")


def evaluated(model: ModelProto, *inputs: Tensor) -> list[np.ndarray]:
    names = [item.name for item in model.graph.input]
    arrays = [tensor.numpy() for tensor in inputs]
    return list(ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True))))


@pytest.mark.parametrize("left", [-1, 0, 1])
@pytest.mark.parametrize("right", [-1, 0, 2])
@pytest.mark.parametrize("causal", [0, 1])
def test_queries_see_a_window_of_keys_from_opset_25_on(
    from_text: Make, left: int, right: int, causal: int
) -> None:
    sides = f"left_window_size = {left}, right_window_size = {right}"
    model = from_text(f"""
        <ir_version: 10, opset_import: ["" : 25]>
        window (float[2, 2, 4, 3] q, float[2, 2, 6, 3] k, float[2, 2, 6, 3] v) => (float[] y) {{
            y = Attention <is_causal = {causal}, {sides}> (q, k, v)
        }}""")
    q, k, v = torch.randn(2, 2, 4, 3), torch.randn(2, 2, 6, 3), torch.randn(2, 2, 6, 3)
    y = from_onnx(model)(q, k, v)
    (expected,) = evaluated(model, q, k, v)
    torch.testing.assert_close(y, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cap", [0.0, 2.0])
def test_a_query_that_sees_no_key_gives_zeros_and_gradients_that_are_numbers(
    from_text: Make, cap: float
) -> None:
    model = from_text(f"""
        <ir_version: 10, opset_import: ["" : 23]>
        blind (float[1, 1, 3, 4] q, bool[3, 3] mask) => (float[] y) {{
            y = Attention <softcap = {cap}> (q, q, q, mask)
        }}""")
    q = torch.randn(1, 1, 3, 4, requires_grad=True)
    y = from_onnx(model)(q, torch.tensor([[True] * 3, [False] * 3, [True] * 3]))
    (slope,) = torch.autograd.grad(y.square().sum(), q)
    assert y[0, 0, 1].tolist() == [0.0] * 4
    assert bool(slope.isfinite().all())
    assert bool((slope[0, 0, 0] != 0).all())


@pytest.mark.parametrize("options", ["is_causal = 1", "softcap = 1.5"])
def test_attention_has_gradients_for_its_mask_and_its_cache(
    differentiate: Check, options: str
) -> None:
    inputs = draw(q=(1, 2, 2, 3), k=(1, 1, 2, 3), v=(1, 1, 2, 2), mask=(2, 3))
    inputs |= draw(past_key=(1, 1, 1, 3), past_value=(1, 1, 1, 2))
    call = f"Attention <{options}> (q, k, v, mask, past_key, past_value)"
    differentiate(23, f"y, present_key, present_value = {call}", inputs, outputs=CACHED)


def test_attention_is_that_of_torch_where_torch_has_it(from_text: Make) -> None:
    model = from_text("""
        <ir_version: 10, opset_import: ["" : 23]>
        causal (float[2, 3, 5, 4] q, float[2, 3, 5, 4] k, float[2, 3, 5, 4] v) => (float[] y) {
            y = Attention <is_causal = 1> (q, k, v)
        }""")
    q, k, v = (torch.randn(2, 3, 5, 4) for _ in range(3))
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.equal(from_onnx(model)(q, k, v), expected)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [0, 4])
def test_rotary_embedding_computes_what_onnx_runtime_computes(
    agree: Check, differentiate: Check, interleaved: int, turned: int
) -> None:
    half = (turned or 6) // 2
    options = f"interleaved = {interleaved}, rotary_embedding_dim = {turned}, num_heads = 2"
    tables = draw(x=(2, 3, 12), cos=(7, half), sin=(7, half))
    tables["places"] = np.array([[0, 1, 2], [6, 2, 2]])
    agree(23, f"y = RotaryEmbedding <{options}> (x, cos, sin, places)", tables)
    rows = draw(x=(2, 2, 3, 6), cos=(2, 3, half), sin=(2, 3, half))
    agree(23, f"y = RotaryEmbedding <{options}> (x, cos, sin)", rows)
    differentiate(23, f"y = RotaryEmbedding <{options}> (x, cos, sin, places)", tables)


LINEAR = [
    ("linear", ""),
    ("gated", "decay"),
    ("gated", "decays"),
    ("delta", '"", beta'),
    ("delta", '"", beta1'),
    ("gated_delta", "decays, beta"),
]


@pytest.mark.parametrize(("rule", "gates"), LINEAR)
@pytest.mark.parametrize("query_heads", [2, 4])
def test_linear_attention_is_the_recurrence_of_its_rule(
    from_text: Make, rule: str, gates: str, query_heads: int
) -> None:
    shapes = {"q": (2, 5, 3 * query_heads), "k": (2, 5, 6), "v": (2, 5, 8), "past": (2, 2, 3, 4)}
    more = {"decay": (2, 5, 2), "decays": (2, 5, 6), "beta": (2, 5, 2), "beta1": (2, 5, 1)}
    shapes |= {name: more[name] for name in gates.replace('""', "").split(", ") if name in more}
    given = ", ".join(f"float{list(shape)} {name}" for name, shape in shapes.items())
    call = f"(q, k, v, past{', ' * bool(gates)}{gates})"
    options = f'update_rule = "{rule}", q_num_heads = {query_heads}, kv_num_heads = 2'
    model = from_text(f"""
        <ir_version: 10, opset_import: ["" : 27]>
        linear ({given}) => (float[] y, float[] state) {{
            y, state = LinearAttention <{options}> {call}
        }}""")
    inputs = [torch.rand(shape) - 0.5 for shape in shapes.values()]
    twin = from_onnx(model)
    for found, expected in zip(twin(*inputs), evaluated(model, *inputs), strict=True):
        torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rule", "gates"), [("linear", []), ("gated_delta", ["decay", "beta"])])
def test_linear_attention_has_gradients(
    differentiate: Check, rule: str, gates: Sequence[str]
) -> None:
    shapes = {"q": (1, 3, 4), "k": (1, 3, 2), "v": (1, 3, 2), "past": (1, 1, 2, 2)}
    inputs = draw(**shapes, **dict.fromkeys(gates, (1, 3, 1)))
    options = f'update_rule = "{rule}", q_num_heads = 2, kv_num_heads = 1'
    nodes = f"y, state = LinearAttention <{options}> ({', '.join(inputs)})"
    differentiate(27, nodes, inputs, outputs="float[] y, float[] state")
