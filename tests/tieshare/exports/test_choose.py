from collections.abc import Callable

import numpy as np
from onnx import ModelProto

from tieshare.exports.choose import candidates, choose, pick
from tieshare.exports.draft import Draft
from tieshare.graph.structure import structure_of

Build = Callable[..., ModelProto]

SIZES = {"plain": 10_000, "table": 1_000, "alive": 1_002, "sums": 1_004}


def measured(**us: tuple[float, float]) -> dict[str, dict[int, float]]:
    return {form: {1: pair[0], 32: pair[1]} for form, pair in us.items()}


def test_the_fastest_over_both_batch_sizes_is_picked() -> None:
    latency = measured(plain=(10, 80), table=(10, 80), alive=(8, 84), sums=(9, 50))
    form, reason = pick(SIZES, latency)
    assert form == "sums"
    assert reason == (
        "fastest: 9.0 us at batch 1, 50.0 us at batch 32; "
        "plain 10.0 us at batch 1, 80.0 us at batch 32"
    )


def test_a_form_that_is_slower_than_plain_at_one_batch_size_is_not_picked() -> None:
    latency = measured(plain=(10, 80), table=(10, 80), alive=(2, 84.1), sums=(10.6, 8))
    assert pick(SIZES, latency)[0] == "table"


def test_within_noise_the_smaller_form_is_picked() -> None:
    latency = measured(plain=(10, 80), table=(10, 80), sums=(9.8, 79))
    form, reason = pick({"plain": 10_000, "table": 1_000, "sums": 900}, latency)
    assert form == "sums"
    assert reason.startswith("fastest: 9.8 us")
    form, reason = pick({"plain": 10_000, "table": 900, "sums": 1_000}, latency)
    assert form == "table"
    assert reason == "900 bytes instead of 10,000, the plain weight once loaded; none is faster"


def test_within_noise_and_of_one_size_the_simpler_form_is_picked() -> None:
    latency = measured(plain=(10, 80), table=(10, 80), alive=(9.9, 80), sums=(9.8, 79))
    assert pick(SIZES, latency)[0] == "table"


def test_plain_is_picked_where_nothing_is_smaller_or_all_that_is_is_slower() -> None:
    assert pick({"plain": 80}, {}) == ("plain", "no form is smaller")
    slow = measured(plain=(10, 80), sums=(20, 80))
    assert pick({"plain": 80, "sums": 70}, slow) == ("plain", "the smaller forms are slower")


def test_without_a_measurement_the_smallest_is_picked() -> None:
    form, reason = pick({"plain": 5_000, "table": 1_234}, {})
    assert form == "table"
    assert reason == "1,234 bytes instead of 5,000, the plain weight once loaded"


def tied_weight(rng: np.random.Generator, rows: int = 64) -> np.ndarray:
    """(rows, 32): half of the rows are dead, the others are of four clusters."""
    W = rng.normal(size=(4, 32)).astype(np.float32)[np.arange(rows) % 4]
    W[::2] = 0
    return W


def test_only_forms_smaller_than_plain_are_candidates(
    build: Build, rng: np.random.Generator
) -> None:
    text = "g (float[N,R] x) => (float[N,32] y) { y = MatMul(x, w) }"
    for rows, expected in ((64, ["plain", "table", "alive", "sums"]), (2, ["plain"])):
        model = build(text, w=tied_weight(rng, rows))
        (layer,) = structure_of(model).layers
        assert list(candidates(Draft(model), layer, in_place=False)) == expected


def test_a_weight_that_others_read_too_or_that_is_turned_stays_in_place(
    build: Build, rng: np.random.Generator
) -> None:
    w = tied_weight(rng)
    twice = "h = MatMul(x, w) i = MatMul(x, w) y = Add(h, i)"
    turned = "t = Transpose<perm = [1,0]>(w) y = MatMul(x, t)"
    for body, weight in ((twice, w), (turned, np.ascontiguousarray(w.T))):
        model = build(f"g (float[N,64] x) => (float[N,32] y) {{ {body} }}", w=weight)
        (layer,) = structure_of(model).layers
        assert list(candidates(Draft(model), layer, in_place=False)) == ["plain", "table"]


def test_a_choice_tells_size_and_latency_of_every_form(
    build: Build, rng: np.random.Generator
) -> None:
    model = build("g (float[N,64] x) => (float[N,32] y) { y = MatMul(x, w) }", w=tied_weight(rng))
    (layer,) = structure_of(model).layers
    draft = Draft(model)
    forms = candidates(draft, layer, in_place=False)
    choice = choose(draft, layer, forms, {1: (1, 64), 8: (8, 64)})
    assert choice.layer == layer.name
    assert choice.form in forms
    assert choice.bytes.keys() == choice.latency_us.keys() == forms.keys()
    assert choice.latency_us["table"] == choice.latency_us["plain"]
    assert all(0 < us < 1e5 for by in choice.latency_us.values() for us in by.values())
    assert 64 * 32 * 4 < choice.bytes["plain"] < 64 * 32 * 4 + 100
    assert 4 * 32 * 4 < choice.bytes["sums"] < 4 * 32 * 4 + 64 + 400
