"""The options that say what a job should aim at and how; the same with and without a server."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from tieshare.recipe import PenaltyName

TARGETS = (
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
        "--max-bytes",
        type=click.IntRange(min=1),
        help="Most accurate result whose packed file has at most so many bytes.",
    ),
    click.option(
        "--max-latency-us",
        type=click.FloatRange(min=0, min_open=True),
        help="Most accurate result whose shared file answers one sample in so many microseconds.",
    ),
    click.option(
        "--front",
        is_flag=True,
        default=None,
        help="All results; the one that loses at most 0.01 is served.",
    ),
)
OPTIONS = (
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
    def with_recipe(recipe_file: Path | None, **others: Any) -> Any:
        recipe = _read(recipe_file) if recipe_file else {}
        recipe |= _given(others, "penalty", "seed", "scale")
        target = _given(others, "max_drop", "min_ratio", "max_bytes", "max_latency_us", "front")
        if len(target) > 1:
            flags = [f"--{name.replace('_', '-')}" for name in target]
            raise click.UsageError(f"give only one of {', '.join(flags)}")
        if target:
            recipe["target"] = target
        return command(recipe=recipe, **others)

    for option in reversed(TARGETS + OPTIONS):
        with_recipe = option(with_recipe)
    return with_recipe


def _given(parameters: dict[str, Any], *names: str) -> dict[str, Any]:
    """Take these parameters out; those that were set."""
    taken = {name: parameters.pop(name) for name in names}
    return {name: value for name, value in taken.items() if value is not None}


def _read(file: Path) -> dict[str, Any]:
    try:
        recipe = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{file}: not JSON: {error}", param_hint="--recipe") from error
    if not isinstance(recipe, dict):
        raise click.BadParameter(f"{file}: must be a JSON object", param_hint="--recipe")
    return recipe
