"""The files that a finished job has made."""

from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from tieshare_service.blobs import NoSuchBlob, artifact_key
from tieshare_service.control import schemas
from tieshare_service.control.answers import CONDITIONS, file, problems
from tieshare_service.control.downloads import download
from tieshare_service.control.requests import PathJob
from tieshare_service.control.services import Parts

_BINARY = "application/octet-stream"
_MEDIA_TYPES = {".json": "application/json", ".png": "image/png", ".svg": "image/svg+xml"}

router = APIRouter(prefix="/jobs", tags=["artifacts"])


@router.get("/{id}/artifacts", responses=problems(404))
def list_artifacts(job_id: PathJob, parts: Parts) -> schemas.ArtifactPage:
    """List the files of a job; there are none before it has succeeded."""
    artifacts = parts.queue.artifacts(job_id)
    return schemas.ArtifactPage(
        items=list(map(schemas.Artifact.of, artifacts)), next_page_token=None
    )


@router.head("/{id}/artifacts/{name}", include_in_schema=False)
@router.get(
    "/{id}/artifacts/{name}",
    response_class=Response,
    responses=file(_BINARY, *_MEDIA_TYPES.values()),
    openapi_extra=CONDITIONS,
)
def get_artifact(
    job_id: PathJob,
    name: Annotated[str, Path(examples=["shared.onnx"])],
    request: Request,
    parts: Parts,
) -> Response:
    """Download one file of a job."""
    for artifact in parts.queue.artifacts(job_id):
        if artifact.name == name:
            key = artifact_key(artifact)
            return download(request, parts.blobs, key, artifact.sha256, _media_type(name))
    raise NoSuchBlob(f"the job has no artifact {name!r}", where="name")


def _media_type(name: str) -> str:
    return _MEDIA_TYPES.get(PurePath(name).suffix, _BINARY)
