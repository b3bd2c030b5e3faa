from collections.abc import Callable
from typing import Any

import pytest

from tieshare.errors import RecipeError
from tieshare.recipe import Recipe
from tieshare.tie_groups import TiedRows, TiedTensors, read_tie_groups

ROWS, TENSORS = {"layer": "fc1", "rows": [3, 1]}, {"tensors": ["w", "v"]}


def refused(make: Callable[[], object]) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        make()
    return caught.value


def test_plain_data_are_groups_of_either_kind() -> None:
    assert read_tie_groups([ROWS, TENSORS]) == (TiedRows("fc1", (3, 1)), TiedTensors(("w", "v")))
    assert read_tie_groups([]) == ()


def test_a_recipe_gives_them_back_as_plain_data() -> None:
    recipe = Recipe.from_dict({"tie_groups": [ROWS, TENSORS]})
    assert recipe.to_dict()["tie_groups"] == [ROWS, TENSORS]
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@pytest.mark.parametrize(
    ("entry", "where"),
    [
        (3, "tie_groups.1"),
        ({}, "tie_groups.1"),
        ({"layer": "fc1"}, "tie_groups.1"),
        ({**ROWS, **TENSORS}, "tie_groups.1"),
        ({**ROWS, "columns": [1]}, "tie_groups.1"),
        ({"layer": 1, "rows": [0, 1]}, "tie_groups.1.layer"),
        ({"layer": "fc1", "rows": 3}, "tie_groups.1.rows"),
        ({"layer": "fc1", "rows": [3]}, "tie_groups.1.rows"),
        ({"layer": "fc1", "rows": [3, 3]}, "tie_groups.1.rows"),
        ({"layer": "fc1", "rows": [3, -1]}, "tie_groups.1.rows"),
        ({"layer": "fc1", "rows": [3, 1.0]}, "tie_groups.1.rows"),
        ({"layer": "fc1", "rows": [3, True]}, "tie_groups.1.rows"),
        ({"tensors": "wv"}, "tie_groups.1.tensors"),
        ({"tensors": ["w"]}, "tie_groups.1.tensors"),
        ({"tensors": ["w", "w"]}, "tie_groups.1.tensors"),
        ({"tensors": ["w", 2]}, "tie_groups.1.tensors"),
    ],
)
def test_an_entry_that_is_no_group_is_named(entry: Any, where: str) -> None:
    given = [{"layer": "fc2", "rows": [0, 1]}, entry]
    assert refused(lambda: Recipe.from_dict({"tie_groups": given})).where == where


@pytest.mark.parametrize("given", [None, "ab", {"layer": "fc1", "rows": [0, 1]}, 3])
def test_what_is_no_list_is_refused(given: Any) -> None:
    assert refused(lambda: Recipe.from_dict({"tie_groups": given})).where == "tie_groups"


def test_rows_may_be_in_one_group_only() -> None:
    groups = TiedRows("fc1", (1, 3)), TiedRows("fc2", (1, 4)), TiedRows("fc1", (4, 3))
    error = refused(lambda: Recipe(tie_groups=groups))
    assert error.where == "tie_groups.2"
    assert error.message.startswith("row 3 of 'fc1' is in tie_groups.0")


def test_tensors_may_be_in_one_group_only() -> None:
    error = refused(lambda: Recipe(tie_groups=(TiedTensors(("a", "b")), TiedTensors(("b", "c")))))
    assert error.where == "tie_groups.1"
    assert error.message.startswith("b is in tie_groups.0")


def test_a_group_of_another_type_is_refused() -> None:
    wrong: Any = ({"tensors": ["a", "b"]},)
    assert refused(lambda: Recipe(tie_groups=wrong)).where == "tie_groups.0"
