"""Every network of the zoo with dead units and tied rows: what all exports of it promise."""

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from tieshare.exports.count import count_shared, count_tied
from tieshare.exports.prune import remove_dead_units
from tieshare.exports.shared import shared
from tieshare.exports.tied import tied
from tieshare.exports.verify import differences
from tieshare.exports.widen import widen
from tieshare.graph import Structure, from_rows, structure_of, tensors, to_rows, with_tensors
from tieshare.measure import inputs_of

pytestmark = pytest.mark.slow


def thinned(model: ModelProto, structure: Structure) -> ModelProto:
    """Rows are copies of a third of them, and of all units about half are read by nobody."""
    rng = np.random.default_rng(0)
    values, new = tensors(model), {}
    for layer in structure.layers:
        rows = rng.integers(0, max(layer.rows // 3, 1), layer.rows)
        new[layer.weight] = from_rows(layer, to_rows(layer, values[layer.weight])[rows])
    dead = rng.random(structure.units) < 0.5
    for name, axes in structure.entries.items():
        thin = new.get(name, values[name]).copy()
        for one in (one for one in axes if one.read):
            unread = (dead[one.ids] & (one.ids >= 0)).any(axis=1)
            np.moveaxis(thin, one.axis, 0)[unread] = 0
        new[name] = thin
    return with_tensors(model, new)


def test_the_exports_are_smaller_equal_and_the_same_from_outside(
    any_network: ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tieshare.measure.ROUNDS", 1)
    monkeypatch.setattr("tieshare.measure.ROUND_S", 1e-9)
    model, structure = any_network, structure_of(any_network)
    thin = thinned(model, structure)
    whole = tied(thin, {}, structure)
    assert max(differences(thin, whole).values()) == 0
    small = shared(whole)
    assert not [choice for choice in small.choices if "refused" in choice.reason]
    assert max(differences(whole, small.model).values()) <= 1e-4
    assert small.model.ByteSize() < whole.ByteSize()
    assert count_shared(small.model, 0).parameters < count_tied(whole, structure).parameters
    for made in (whole, small.model):
        assert inputs_of(made) == inputs_of(model)
        assert made.graph.output == model.graph.output
        if _is_sound(model):
            onnx.checker.check_model(made, full_check=True)
        onnx.checker.check_model(made)


def test_what_is_cut_out_fits_back_in(any_network: ModelProto) -> None:
    structure = structure_of(any_network)
    whole = tied(thinned(any_network, structure), {}, structure)
    before, narrow = tensors(whole), tensors(remove_dead_units(whole))
    shared_names = {n for n in before.keys() & narrow.keys() if before[n].dtype.kind == "f"}
    wide = widen(whole, structure, {name: narrow[name] for name in shared_names})
    assert {n: a.tobytes() for n, a in wide.items()} == {
        n: before[n].tobytes() for n in shared_names
    }


def _is_sound(model: ModelProto) -> bool:
    """Whether the shapes that the file declares are those that follow from its nodes."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.shape_inference.InferenceError:
        return False
    return True
