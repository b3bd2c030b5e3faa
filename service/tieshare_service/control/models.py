"""Models: upload, list, look at, download, delete."""

from fastapi import APIRouter, Request, Response

from tieshare_service.control import schemas
from tieshare_service.control.answers import CONDITIONS, file, header, problems, raw_body
from tieshare_service.control.downloads import download
from tieshare_service.control.requests import PageSize, PageToken, PathModel, UploadName
from tieshare_service.control.services import Parts
from tieshare_service.control.uploads import new_upload

router = APIRouter(prefix="/models", tags=["models"])


@router.post(
    "",
    status_code=201,
    openapi_extra=raw_body("application/octet-stream", digest=True),
    responses={
        201: {"headers": header("Location", "where the model is")},
        **problems(400, 413, 415, 503),
    },
)
async def create_model(
    request: Request, response: Response, parts: Parts, name: UploadName = None
) -> schemas.Model:
    """Upload an ONNX file: its bytes are the body. It is refused where it can't be compressed."""
    upload = new_upload(request, name, parts.settings.max_upload_bytes)
    record = await parts.models.add(upload)
    parts.counters.add("uploads", kind="models")
    parts.counters.add("upload_bytes", record.bytes, kind="models")
    response.headers["Location"] = f"/v1/models/{record.id}"
    return schemas.Model.of(record)


@router.get("", responses=problems())
def list_models(
    parts: Parts, page_size: PageSize = 50, page_token: PageToken = None
) -> schemas.ModelPage:
    """List models, newest first."""
    records, token = parts.models.list(page_size, page_token)
    return schemas.ModelPage(items=list(map(schemas.Model.of, records)), next_page_token=token)


@router.get("/{id}", responses=problems(404))
def get_model(model_id: PathModel, parts: Parts) -> schemas.Model:
    """Look at one model."""
    return schemas.Model.of(parts.models.get(model_id))


@router.delete("/{id}", status_code=204, response_class=Response, responses=problems(404, 409))
def delete_model(model_id: PathModel, parts: Parts) -> None:
    """Delete a model; refused while a job that has not ended needs it."""
    parts.models.delete(model_id)


@router.head("/{id}/content", include_in_schema=False)
@router.get(
    "/{id}/content",
    response_class=Response,
    responses=file("application/octet-stream"),
    openapi_extra=CONDITIONS,
)
def get_model_content(model_id: PathModel, request: Request, parts: Parts) -> Response:
    """Download the ONNX file as it was uploaded."""
    record = parts.models.get(model_id)
    key = parts.models.key(model_id)
    return download(request, parts.blobs, key, record.sha256, "application/octet-stream")
