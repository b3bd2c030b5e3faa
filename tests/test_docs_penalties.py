"""What docs/penalties.md shows runs, and does what it says."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from onnx import ModelProto

from tieshare import penalties
from tieshare.graph import structure_of
from tieshare.penalties import PENALTIES, Penalty
from tieshare.recipe import PenaltyName, Recipe
from tieshare.regularised import regularised
from tieshare.shrink import shrink
from tieshare.tie_groups import TiedRows, TiedTensors
from tieshare.twin import from_onnx

PAGE = (Path(__file__).parents[1] / "docs" / "penalties.md").read_text()
CLASS, CHECK = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
Make = Callable[[int, float], Penalty]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the page's first block; the table that it adds to is a copy."""
    monkeypatch.setattr(penalties, "PENALTIES", dict(PENALTIES))
    names: dict[str, Any] = {"__name__": "page"}
    exec(CLASS, names)  # noqa: S102 - the page's own code
    return names


def test_the_table_has_every_penalty() -> None:
    assert re.findall(r"^\| `(\w+)`.* \| .* \| .* \|$", PAGE, re.MULTILINE)[1:] == list(
        get_args(PenaltyName)
    )


def test_the_recipe_of_the_page_is_one() -> None:
    (shown,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    recipe = Recipe.from_dict(json.loads(shown))
    assert recipe.penalties == {"conv1": "none", "fc1": "slope"}
    assert recipe.tie_groups == (
        TiedRows("fc1", (0, 27)),
        TiedTensors(("left.weight", "right.weight")),
    )


def test_the_new_penalty_takes_less_than_forty_lines() -> None:
    assert len(CLASS.splitlines()) < 40


def test_the_page_finds_the_prox_of_its_penalty_right(
    page: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    exec(CHECK, page)  # noqa: S102 - the page's own code
    assert capsys.readouterr().out == "True\n"


def test_the_new_penalty_takes_rows_and_entries_from_a_network(
    page: dict[str, Any], monkeypatch: pytest.MonkeyPatch, from_text: Callable[..., ModelProto]
) -> None:
    monkeypatch.setattr(
        "tieshare.regularised.PENALTIES", {"growl": page["PENALTIES"]["sparse_rows"]}
    )
    model = from_text(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "g (float[N,64] x) => (float[N,10] y) <float[64, 10] w> { y = MatMul (x, w) }"
    )
    twin = from_onnx(model)
    (only,) = regularised(twin, structure_of(model), Recipe(l2=0.1))
    weight = twin.parameter("w").detach()
    alive = torch.ones(only.groups, dtype=torch.bool)
    penalty = only.penalty.at(1.15 * only.unit)
    shrink([weight], only.parts, penalty, step=1.0, alive=alive)
    dead = ~weight.any(1)
    assert 0 < dead.sum() < 64
    assert weight[~dead].eq(0).any()
