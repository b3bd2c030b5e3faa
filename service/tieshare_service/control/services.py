"""What the handlers call: built once when the service starts, torn down when it stops."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import Engine

from tieshare_service.audit import Audit
from tieshare_service.blobs import Blobs
from tieshare_service.catalog import DATASETS, MODELS, Catalog
from tieshare_service.control.counters import Counters
from tieshare_service.database import open_database
from tieshare_service.gate import Gate
from tieshare_service.housekeeping import Housekeeping
from tieshare_service.keys import Guard, Key, Keys
from tieshare_service.liveness import Liveness
from tieshare_service.partial import Partials
from tieshare_service.publish import Publisher
from tieshare_service.queue import Queue
from tieshare_service.records import DatasetRecord, ModelRecord
from tieshare_service.removal import Remover
from tieshare_service.settings import Settings
from tieshare_service.shelf import shelf_of
from tieshare_service.tenants import Scope

KEY = "tieshare.key"
"""In the scope of a request: whose it is, None where no key is needed."""


@dataclass(frozen=True)
class Services:
    """The domain, and the settings that it was built from.

    ``guard``: None where no key is needed.
    """

    settings: Settings
    engine: Engine
    blobs: Blobs
    models: Catalog[ModelRecord]
    datasets: Catalog[DatasetRecord]
    partials: Partials
    queue: Queue
    publisher: Publisher
    remover: Remover
    audit: Audit
    guard: Guard | None
    counters: Counters
    liveness: Liveness

    def workers(self) -> list[str]:
        """Those that live: what has not beaten for a lease has lost its job."""
        return self.liveness.alive(self.settings.lease_s)

    def of(self, scope: Scope) -> "Services":
        """What this one sees of it."""
        models, datasets = self.models.of(scope), self.datasets.of(scope)
        partials = self.partials.of(scope, {"models": models, "datasets": datasets})
        return replace(
            self,
            models=models,
            datasets=datasets,
            partials=partials,
            queue=self.queue.of(scope),
            remover=self.remover.of(scope),
        )


@contextmanager
def started(settings: Settings, counters: Counters) -> Iterator[Services]:
    """Open the data folder, and keep it clear of what nobody needs."""
    engine = open_database(settings.database)
    blobs = Blobs.of(settings)
    gate = Gate(settings.gate_memory_bytes, settings.gate_seconds)
    guarded = settings.needs_keys(settings.host)
    models = Catalog(MODELS, engine, blobs, gate, time.time)
    datasets = Catalog(DATASETS, engine, blobs, gate, time.time)
    publisher = Publisher(engine, shelf_of(settings))
    services = Services(
        settings=settings,
        engine=engine,
        blobs=blobs,
        models=models,
        datasets=datasets,
        partials=Partials(
            settings.data_dir,
            {"models": models, "datasets": datasets},
            settings.max_upload_bytes,
            time.time,
        ),
        queue=Queue(engine, time.time, max_attempts=settings.max_attempts),
        publisher=publisher,
        remover=Remover(engine, blobs, publisher),
        audit=Audit(engine, time.time),
        guard=Guard(Keys(engine, time.time)) if guarded else None,
        counters=counters,
        liveness=Liveness(engine, time.time),
    )
    housekeeping = Housekeeping(
        engine,
        blobs,
        models,
        datasets,
        services.partials,
        services.remover,
        services.audit,
        settings.keep_days,
        settings.keep_versions,
    )
    try:
        with housekeeping.running():
            yield services
    finally:
        if services.guard is not None:
            services.guard.close()
        engine.dispose()


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    key: Key | None = request.scope[KEY]
    return services if key is None else services.of(key.scope)


Parts = Annotated[Services, Depends(_services)]
