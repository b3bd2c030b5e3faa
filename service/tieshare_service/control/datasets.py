"""Data sets: upload, list, look at, download, delete."""

from fastapi import APIRouter, Request, Response

from tieshare_service.control import schemas
from tieshare_service.control.answers import CONDITIONS, file, header, problems, raw_body
from tieshare_service.control.downloads import download
from tieshare_service.control.requests import PageSize, PageToken, PathDataset, UploadName
from tieshare_service.control.services import Parts
from tieshare_service.control.uploads import new_upload

router = APIRouter(prefix="/datasets", tags=["datasets"])


@router.post(
    "",
    status_code=201,
    openapi_extra=raw_body("application/octet-stream", digest=True),
    responses={
        201: {"headers": header("Location", "where the data set is")},
        **problems(400, 413, 415, 503),
    },
)
async def create_dataset(
    request: Request, response: Response, parts: Parts, name: UploadName = None
) -> schemas.Dataset:
    """Upload an npz archive: its bytes are the body. Arrays of objects are refused."""
    upload = new_upload(request, name, parts.settings.max_upload_bytes)
    record = await parts.datasets.add(upload)
    parts.counters.add("uploads", kind="datasets")
    parts.counters.add("upload_bytes", record.bytes, kind="datasets")
    response.headers["Location"] = f"/v1/datasets/{record.id}"
    return schemas.Dataset.of(record)


@router.get("", responses=problems())
def list_datasets(
    parts: Parts, page_size: PageSize = 50, page_token: PageToken = None
) -> schemas.DatasetPage:
    """List data sets, newest first."""
    records, token = parts.datasets.list(page_size, page_token)
    return schemas.DatasetPage(items=list(map(schemas.Dataset.of, records)), next_page_token=token)


@router.get("/{id}", responses=problems(404))
def get_dataset(dataset_id: PathDataset, parts: Parts) -> schemas.Dataset:
    """Look at one data set."""
    return schemas.Dataset.of(parts.datasets.get(dataset_id))


@router.delete("/{id}", status_code=204, response_class=Response, responses=problems(404, 409))
def delete_dataset(dataset_id: PathDataset, parts: Parts) -> None:
    """Delete a data set; refused while a job that has not ended needs it."""
    parts.datasets.delete(dataset_id)


@router.head("/{id}/content", include_in_schema=False)
@router.get(
    "/{id}/content",
    response_class=Response,
    responses=file("application/octet-stream"),
    openapi_extra=CONDITIONS,
)
def get_dataset_content(dataset_id: PathDataset, request: Request, parts: Parts) -> Response:
    """Download the npz archive as it was uploaded."""
    record = parts.datasets.get(dataset_id)
    key = parts.datasets.key(dataset_id)
    return download(request, parts.blobs, key, record.sha256, "application/octet-stream")
