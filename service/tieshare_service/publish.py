"""Puts a finished model where the inference endpoint, or Triton, finds it, under its number.

A job has one version however often its result is published; every other point of its front that
is put into service after that is one more.
"""

import re
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine, func, insert, select, update

from tieshare_service.database import alone
from tieshare_service.records import versions
from tieshare_service.shelf import Shelf
from tieshare_service.tenants import owned_name

ServedFile = Literal["shared", "packed"]

LONGEST_NAME = 100


@dataclass(frozen=True)
class Point:
    """A result of a job: its number in the front, None where there is no front, and its file."""

    point: int | None
    file: ServedFile = "shared"


@dataclass(frozen=True)
class Served:
    """Under which name and version a model answers."""

    name: str
    version: int


def served_name(text: str) -> str:
    """``text`` as a name for a folder and a URL: letters, digits, ``.``, ``_`` and ``-``."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", text).lstrip(".-")[:LONGEST_NAME].rstrip(".-")
    return name or "model"


class Publisher:
    """The served models of one shelf, numbered by the ``versions`` table."""

    def __init__(self, engine: Engine, shelf: Shelf) -> None:
        self._engine = engine
        self._shelf = shelf

    def publish(
        self, job_id: str, name: str, model: bytes, point: Point, tenant: str = ""
    ) -> Served:
        """Serve a job's result as the next version of ``name``, or as the one it has already."""
        served = owned_name(tenant, served_name(name))
        return self._put(self._reserve(job_id, served, point, again=True), model)

    def publish_other(
        self, job_id: str, name: str, model: bytes, point: Point, tenant: str = ""
    ) -> Served:
        """Serve another point as the next version; the job's newest where it is this point."""
        served = owned_name(tenant, served_name(name))
        return self._put(self._reserve(job_id, served, point, again=False), model)

    def withdraw(self, served: Served) -> None:
        """Take a version out of service; no error if it is not there."""
        self._shelf.remove(served.name, served.version)

    def _reserve(self, job_id: str, name: str, point: Point, *, again: bool) -> Served:
        newest = select(versions).where(versions.c.job_id == job_id)
        newest = newest.order_by(versions.c.version.desc()).limit(1)
        last = select(func.coalesce(func.max(versions.c.version), 0)).where(versions.c.name == name)
        held = {"point": point.point, "file": point.file}
        with self._engine.begin() as connection:
            alone(connection, name)
            row = connection.execute(newest).one_or_none()
            if row is not None and (again or Point(row.point, row.file) == point):
                mine = (versions.c.name == row.name) & (versions.c.version == row.version)
                connection.execute(update(versions).where(mine).values(held))
                return Served(row.name, row.version)
            version = connection.scalars(last).one() + 1
            entry = {"name": name, "version": version, "job_id": job_id, **held}
            connection.execute(insert(versions).values(entry))
            return Served(name, version)

    def _put(self, served: Served, model: bytes) -> Served:
        self._shelf.put(served.name, served.version, model)
        return served
