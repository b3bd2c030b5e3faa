"""``tieshare datasets``."""

from tieshare_service.cli.files import Kind, file_commands
from tieshare_service.cli.models import tensor_text
from tieshare_service.client import Dataset


def _details(dataset: Dataset) -> list[tuple[str, object]]:
    return [
        ("arrays", "\n".join(map(tensor_text, dataset.arrays))),
        ("sha256", dataset.sha256),
    ]


datasets = file_commands(
    Kind(
        noun="data set",
        group=lambda client: client.datasets,
        columns={
            "id": lambda dataset: dataset.id,
            "name": lambda dataset: dataset.name,
            "samples": lambda dataset: dataset.samples,
            "bytes": lambda dataset: dataset.bytes,
            "created": lambda dataset: dataset.created_at,
        },
        details=_details,
    ),
    "datasets",
)
