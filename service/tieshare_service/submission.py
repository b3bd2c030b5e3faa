"""From what a client asks for to a job in the queue; all that can be wrong is found before that."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from tieshare.data import check_fit
from tieshare.errors import RecipeError
from tieshare.named import check_card
from tieshare.recipe import Recipe
from tieshare_service.catalog import Catalog
from tieshare_service.errors import NotFound
from tieshare_service.job_rows import NewJob
from tieshare_service.publish import served_name
from tieshare_service.queue import Queue
from tieshare_service.records import DatasetRecord, Job, Json, ModelRecord


@dataclass(frozen=True)
class Asked:
    """What a client asks for. ``recipe`` and ``target`` hold only the fields that it named."""

    model_id: str
    dataset_id: str
    name: str | None = None
    recipe: Mapping[str, Any] | None = None
    target: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Plan:
    """A job that could be queued. ``recipe`` has every default filled in."""

    model_id: str
    dataset_id: str
    name: str
    recipe: Json


def plan(models: Catalog[ModelRecord], datasets: Catalog[DatasetRecord], asked: Asked) -> Plan:
    """The job, named, its recipe filled in, its data set held against its model by their cards.

    Raises NoSuchModel, NoSuchDataset, RecipeError, DataMismatch.
    """
    recipe = _recipe(asked)
    model, dataset = models.get(asked.model_id), datasets.get(asked.dataset_id)
    check_fit(model.card, dataset.card, recipe)
    check_card(model.card, recipe)
    name = asked.name or served_name(model.name)
    return Plan(model.id, dataset.id, name, recipe.to_dict())


def submit(
    queue: Queue,
    models: Catalog[ModelRecord],
    datasets: Catalog[DatasetRecord],
    asked: Asked,
    key: str | None = None,
) -> Job:
    """Queue the job, or find the one that the same request with the same key made before.

    Raises what ``plan`` raises, and IdempotencyConflict.
    """
    digest = hashlib.sha256(orjson.dumps(asdict(asked), option=orjson.OPT_SORT_KEYS)).hexdigest()
    try:
        planned = plan(models, datasets, asked)
    except NotFound:
        if key is None:
            raise
        # The uploads of an ended job may be gone while its key still names it.
        planned = Plan(asked.model_id, asked.dataset_id, "", {})
    return queue.submit(NewJob(**vars(planned), idempotency_key=key, request_sha256=digest))


def _recipe(asked: Asked) -> Recipe:
    fields = dict(asked.recipe or {})
    if asked.target is not None:
        if fields.get("target") is not None:
            raise RecipeError("given twice; give it once", where="recipe.target")
        fields["target"] = asked.target
    if fields.get("target", 0) is None:
        del fields["target"]
    return Recipe.from_dict(fields)
