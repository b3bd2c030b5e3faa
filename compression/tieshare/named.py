"""The layers and rows that a recipe names are those of the model."""

from collections.abc import Mapping
from typing import Any

from tieshare.errors import RecipeError
from tieshare.recipe import Recipe
from tieshare.tie_groups import TiedRows


def check_card(card: Mapping[str, Any], recipe: Recipe) -> None:
    """Raise what ``check_named`` would, from a model's card as JSON keeps it."""
    check_named({layer["name"]: layer["rows"] for layer in card["layers"]}, recipe)


def check_named(layers: Mapping[str, int], recipe: Recipe) -> None:
    """Raise RecipeError where ``recipe`` names what the model has not.

    ``layers``: the number of rows of each layer, by name.
    """
    for name in recipe.penalties:
        _check_layer(name, layers, f"penalties.{name}")
    for place, group in enumerate(recipe.tie_groups):
        if isinstance(group, TiedRows):
            _check_layer(group.layer, layers, f"tie_groups.{place}.layer")
            rows, last = layers[group.layer], max(group.rows)
            if last >= rows:
                raise RecipeError(
                    f"layer {group.layer!r} has no row {last}; its rows are 0 to {rows - 1}",
                    where=f"tie_groups.{place}.rows",
                )


def _check_layer(name: str, layers: Mapping[str, int], where: str) -> None:
    if name not in layers:
        known = ", ".join(layers)
        raise RecipeError(f"the model has no layer {name!r}; its layers are {known}", where=where)
