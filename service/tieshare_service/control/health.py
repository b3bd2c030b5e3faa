"""Whether the process lives, and whether it can do its work."""

from collections.abc import Callable

from fastapi import APIRouter
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from tieshare_service.control import schemas
from tieshare_service.control.answers import problems
from tieshare_service.control.errors import NotReady
from tieshare_service.control.problems import is_full
from tieshare_service.control.services import Parts, Services
from tieshare_service.database import reading

router = APIRouter(tags=["system"])


@router.get("/healthz", responses=problems())
async def get_health() -> schemas.Health:
    """Answer at all."""
    return schemas.Health(status="ok")


@router.get("/readyz", responses=problems(503))
def get_readiness(parts: Parts) -> schemas.Readiness:
    """Say whether uploads and jobs can be taken: the database answers, files can be written.

    Jobs are taken while no worker lives, too; they wait for one.
    """
    for name, check in _CHECKS.items():
        try:
            check(parts)
        except (OSError, SQLAlchemyError) as error:
            why = "is full" if is_full(error) else "does not work"
            raise NotReady(f"the {name} {why}", where=name) from error
    return schemas.Readiness(status="ok", workers=len(parts.workers()))


def _ask_database(parts: Services) -> None:
    with reading(parts.engine) as connection:
        connection.execute(select(1))


def _write_file(parts: Services) -> None:
    parts.blobs.try_writing()


_CHECKS: dict[str, Callable[[Services], None]] = {
    "database": _ask_database,
    "data folder": _write_file,
}
