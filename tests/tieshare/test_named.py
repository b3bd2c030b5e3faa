from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
from onnx import ModelProto

from tieshare.errors import RecipeError
from tieshare.graph import describe
from tieshare.named import check_card, check_named
from tieshare.recipe import Recipe
from tieshare.tie_groups import TiedRows, TiedTensors

LAYERS = {"fc1": 64, "fc2": 32}


def refused(check: Callable[[], None]) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        check()
    return caught.value


def test_what_the_model_has_may_be_named() -> None:
    groups = TiedRows("fc1", (0, 63)), TiedRows("fc2", (0, 31)), TiedTensors(("a", "b"))
    check_named(LAYERS, Recipe(penalties={"fc1": "l1", "fc2": "none"}, tie_groups=groups))
    check_named({}, Recipe())


@pytest.mark.parametrize(
    ("recipe", "where", "message"),
    [
        (
            {"penalties": {"fc2": "l1", "fc3": "l1"}},
            "penalties.fc3",
            "the model has no layer 'fc3'; its layers are fc1, fc2",
        ),
        (
            {"tie_groups": (TiedRows("fc2", (0, 1)), TiedRows("fc0", (0, 1)))},
            "tie_groups.1.layer",
            "the model has no layer 'fc0'; its layers are fc1, fc2",
        ),
        (
            {"tie_groups": (TiedTensors(("a", "b")), TiedRows("fc2", (32, 1)))},
            "tie_groups.1.rows",
            "layer 'fc2' has no row 32; its rows are 0 to 31",
        ),
    ],
)
def test_what_the_model_has_not_is_named_with_what_it_has(
    recipe: dict[str, Any], where: str, message: str
) -> None:
    error = refused(lambda: check_named(LAYERS, Recipe(**recipe)))
    assert (error.where, error.message) == (where, message)


def test_a_card_is_enough_to_tell(mlp: ModelProto) -> None:
    card = asdict(describe(mlp))
    first = card["layers"][0]["name"]
    check_card(card, Recipe(tie_groups=(TiedRows(first, (0, 63)),)))
    error = refused(lambda: check_card(card, Recipe(tie_groups=(TiedRows(first, (0, 64)),))))
    assert error.where == "tie_groups.0.rows"
