"""Another point of a finished job's front, put into service with no training."""

import re

from tieshare_service.blobs import Blobs
from tieshare_service.errors import NoSuchJob, NoSuchPoint, WrongState
from tieshare_service.publish import Point, Publisher, Served
from tieshare_service.queue import Queue
from tieshare_service.records import Artifact

_FILE = re.compile(r"point-(\d+)\.(shared|packed)\.onnx", re.ASCII)


def publish_point(
    queue: Queue, blobs: Blobs, publisher: Publisher, job_id: str, point: Point
) -> Served:
    """Serve the stored file of ``point`` as the next version of the job's name.

    Where it is what the job's newest version holds, that version it stays, however often this is
    called. Raises NoSuchJob, WrongState, NoSuchPoint, NoSuchBlob.
    """
    job = queue.get(job_id)
    if job.status != "succeeded":
        raise WrongState(job_id, job.status, "published")
    artifact = _file_of(point, {found.name: found for found in queue.artifacts(job_id)})
    model = blobs.artifact(artifact)
    served = publisher.publish_other(job_id, job.name, model, point, job.tenant)
    try:
        queue.published(job_id, served, point)
    except NoSuchJob:  # deleted meanwhile
        publisher.withdraw(served)
        raise
    return served


def _file_of(point: Point, made: dict[str, Artifact]) -> Artifact:
    artifact = made.get(f"point-{point.point}.{point.file}.onnx")
    if artifact is None:
        found = filter(None, map(_FILE.fullmatch, made))
        there = sorted(int(name[1]) for name in found if name[2] == point.file)
        raise NoSuchPoint(point.point, point.file, there)
    return artifact
