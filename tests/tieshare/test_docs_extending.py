"""What docs/extending.md shows does what the page says."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from tieshare.crew import Processes
from tieshare.data import Dataset
from tieshare.exports import choose, forms
from tieshare.exports.macs import macs
from tieshare.exports.rows import read_rows
from tieshare.exports.shared import shared
from tieshare.graph.tensors import tensors, with_tensors
from tieshare.job import Job
from tieshare.maker import Maker
from tieshare.search import Point

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
TARGET, FORM = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102
    return names


@pytest.mark.parametrize("code", [TARGET, FORM])
def test_an_example_has_fewer_than_forty_lines(code: str) -> None:
    assert len(code.splitlines()) < 40


def test_the_target_bounds_what_the_files_of_a_point_will_take(
    job_of: Callable[..., Job], mlp: ModelProto, digits: Dataset, tmp_path: Path
) -> None:
    job = job_of(mlp, digits, tmp_path)
    maker = Maker(job, [layer.name for layer in job.structure.layers], Processes())
    point = Point(0, 1.0)
    before = run(TARGET)["LIMITS"]["max_macs"](maker, point)
    assert before == macs(mlp) == 64 * 32 + 32 * 10
    made = maker.files_of(maker.points.dense())
    maker.files[point] = made
    assert run(TARGET)["macs_of"](maker, point) == made.macs


def test_the_form_cuts_the_inputs_out(mlp: ModelProto, monkeypatch: pytest.MonkeyPatch) -> None:
    name = mlp.graph.node[0].input[1]
    weight = tensors(mlp)[name].copy()
    weight[:20] = weight[40:] = 0
    model = with_tensors(mlp, {name: weight})
    found = next(form for form in run(FORM)["FORMS"] if form.name == "slice")
    monkeypatch.setattr(choose, "FORMS", (forms.FORMS[0], found))
    made = shared(model, [np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)])
    assert made.choices[0].form in ("slice", "plain")
    assert set(made.choices[0].bytes) == {"slice", "plain"}
    if made.choices[0].form == "slice":
        assert "Slice" in [node.op_type for node in made.model.graph.node]


def test_the_form_needs_alive_inputs_that_lie_side_by_side() -> None:
    node = helper.make_node("MatMul", ["x", "W"], ["y"])
    W = np.zeros((6, 4), dtype=np.float32)
    W[[1, 3]] = np.random.default_rng(0).normal(size=(2, 4))
    apart = forms.TiedLayer(node, "W", "W", W, 0, read_rows(W), 17)
    assert run(FORM)["sliced"](apart) is None
    W[2] = 1
    together = forms.TiedLayer(node, "W", "W", W, 0, read_rows(W), 17)
    assert run(FORM)["sliced"](together).tensors["W.alive"].shape == (3, 4)
