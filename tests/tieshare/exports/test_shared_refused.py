"""What ``shared`` does with files that are slower or wrong."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.errors import ExportMismatch
from tieshare.exports import forms
from tieshare.exports import shared as module
from tieshare.exports.draft import Draft
from tieshare.exports.prune import remove_dead_units
from tieshare.exports.shared import Shared, shared
from tieshare.graph.tensors import tensors

Build = Callable[..., ModelProto]

MLP = (
    "g (float[N,60] x) => (float[N,10] y)"
    "{ h = Gemm<transB = 1>(x, w1, b1) r = Relu(h) z = MatMul(r, w2) y = Add(z, b2) }"
)


def clustered(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """(rows, columns) float32: every third row is dead, the others are of seven clusters."""
    W = rng.normal(size=(7, columns)).astype(np.float32)[np.arange(rows) % 7]
    W[::3] = 0
    return W


def mlp(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        "w1": np.ascontiguousarray(clustered(rng, 60, 90).T),
        "b1": rng.normal(size=90).astype(np.float32),
        "w2": clustered(rng, 90, 10),
        "b2": rng.normal(size=10).astype(np.float32),
    }


def forms_of(made: Shared) -> set[str]:
    return {choice.form for choice in made.choices}


def with_tensor(model: ModelProto, name: str, array: np.ndarray) -> ModelProto:
    draft = Draft(model)
    draft.put(name, array)
    return draft.model()


def test_a_wrong_form_is_replaced_by_a_right_one(
    build: Build, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(layer: forms.TiedLayer) -> forms.Formed | None:
        formed = forms.alive(layer)
        if formed is None:
            return None
        zeros = {name: np.zeros_like(array) for name, array in formed.tensors.items()}
        return replace(formed, tensors=zeros)

    monkeypatch.setattr(
        "tieshare.exports.choose.FORMS",
        (*forms.FORMS[:2], forms.Form("wrong", wrong, in_place=False)),
    )
    monkeypatch.setattr("tieshare.exports.choose.pick", lambda sizes, _: (list(sizes)[-1], "test"))
    monkeypatch.setattr(module, "_as_fast", lambda *_: True)
    made = shared(build(MLP, **mlp(rng)))
    assert forms_of(made) == {"table"}
    assert "refused a smaller or faster file: output 'y' differs" in made.choices[0].reason


@pytest.mark.parametrize(
    ("best", "forms_taken"), [(10.4, {"sums"}), (10.6, {"table"})], ids=["as fast", "slower"]
)
def test_forms_are_kept_only_if_the_whole_file_is_not_slower_with_them(
    build: Build,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    best: float,
    forms_taken: set[str],
) -> None:
    monkeypatch.setattr("tieshare.exports.choose.pick", lambda sizes, _: (list(sizes)[-1], "test"))
    measured = {"model": {1: best, 32: 5.0}, "other": {1: 10.0, 32: 50.0}}
    monkeypatch.setattr(module, "latencies", lambda *_: measured)
    made = shared(build(MLP, **mlp(rng)))
    assert forms_of(made) == forms_taken


def test_an_export_that_cannot_be_made_right_is_an_error(
    build: Build, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(MLP, **mlp(rng))
    other = build(MLP, **{**mlp(rng), "b2": np.zeros(10, dtype=np.float32)})
    monkeypatch.setattr(module, "_own_tensors", lambda _: other)
    with pytest.raises(ExportMismatch, match="output 'y'"):
        shared(model)


def test_a_wrong_cut_is_undone(
    build: Build, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: ModelProto, multiple: int) -> ModelProto:
        return with_tensor(remove_dead_units(model, multiple), "b2", np.zeros(10, dtype=np.float32))

    monkeypatch.setattr(module, "remove_dead_units", wrong)
    made = shared(build(MLP, **mlp(rng)))
    assert tensors(made.model)["b1"].shape == (90,)
    assert "refused a smaller or faster file: output 'y' differs" in made.choices[0].reason


def test_a_cut_that_leaves_a_graph_that_cannot_run_is_undone(
    build: Build, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(model: ModelProto) -> ModelProto:
        return with_tensor(model, "b2", np.zeros(7, dtype=np.float32))

    monkeypatch.setattr(module, "fold_batch_norms", wrong)
    made = shared(build(MLP, **mlp(rng)))
    assert tensors(made.model)["b1"].shape == (90,)
    assert "the file can't be" in made.choices[0].reason
