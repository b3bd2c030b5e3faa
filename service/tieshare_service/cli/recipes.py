"""The options that say what a job should aim at and how; the same with and without a server."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from tieshare.recipe import PenaltyName

OPTIONS = (
    click.option(
        "--max-drop",
        type=click.FloatRange(0, 1, max_open=True),
        help="Smallest result that loses at most this much accuracy; 0.01 is one point. "
        "This with 0.01 is the default target.",
    ),
    click.option(
        "--min-ratio",
        type=click.FloatRange(min=1),
        help="Most accurate result with at least this compression ratio.",
    ),
    click.option(
        "--recipe",
        "recipe_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="JSON file with fields of the recipe; the flags here win over it.",
    ),
    click.option(
        "--penalty", type=click.Choice(get_args(PenaltyName)), help="What stage 1 trains with."
    ),
    click.option("--seed", type=click.IntRange(min=0), help="Of splits, order and clustering."),
    click.option(
        "--scale",
        type=click.FloatRange(min=0, min_open=True),
        help="uint8 inputs are multiplied by it; 1/255 where it is left out.",
    ),
)


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give ``command`` the parameter ``recipe``: a dict of the fields that were set."""

    @functools.wraps(command)
    def with_recipe(
        max_drop: float | None,
        min_ratio: float | None,
        recipe_file: Path | None,
        **others: Any,
    ) -> Any:
        recipe = _read(recipe_file) if recipe_file else {}
        flags = {name: others.pop(name) for name in ("penalty", "seed", "scale")}
        recipe.update({name: value for name, value in flags.items() if value is not None})
        target = {"max_drop": max_drop, "min_ratio": min_ratio}
        target = {name: value for name, value in target.items() if value is not None}
        if len(target) > 1:
            raise click.UsageError("give one of --max-drop and --min-ratio")
        if target:
            recipe["target"] = target
        return command(recipe=recipe, **others)

    for option in reversed(OPTIONS):
        with_recipe = option(with_recipe)
    return with_recipe


def _read(file: Path) -> dict[str, Any]:
    try:
        recipe = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{file}: not JSON: {error}", param_hint="--recipe") from error
    if not isinstance(recipe, dict):
        raise click.BadParameter(f"{file}: must be a JSON object", param_hint="--recipe")
    return recipe
