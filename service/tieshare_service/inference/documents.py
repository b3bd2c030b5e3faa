"""What the protocol tells about the server and its models: plain data, whatever carries it."""

from collections.abc import Iterator
from functools import cache
from importlib.metadata import version as distribution_version
from typing import TYPE_CHECKING, Any

from tieshare_service.inference.metrics import Metrics
from tieshare_service.inference.model_config import config_of
from tieshare_service.inference.repository import Repository, Slot
from tieshare_service.inference.types import TensorSpec

if TYPE_CHECKING:  # what most processes need not load
    from tieshare_service.keys import Key

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
    "trace",
)

Document = dict[str, Any]


def server_metadata() -> Document:
    """Who answers here."""
    return {"name": "tieshare", "version": _version(), "extensions": EXTENSIONS}


def model_metadata(repository: Repository, name: str, version: str | None) -> Document:
    """Inputs and outputs of a model that answers."""
    model = repository.get(name, version)
    return {
        "name": model.name,
        "versions": [str(ready) for ready in repository.ready_versions(model.name)],
        "platform": "onnxruntime_onnx",
        "inputs": [_spec(spec) for spec in model.inputs.values()],
        "outputs": [_spec(spec) for spec in model.outputs.values()],
    }


def model_config(repository: Repository, name: str, version: str | None) -> Document:
    """How a model is served."""
    return config_of(repository.get(name, version))


def statistics(
    repository: Repository,
    metrics: Metrics,
    name: str,
    version: str | None,
    key: "Key | None" = None,
) -> Document:
    """What was asked of the versions that answer: of all that the key sees, of one, one version."""
    if version is not None:
        ready = [(name, repository.get(name, version).version)]
    elif name:
        ready = [(name, found) for found in repository.ready_versions(name)]
    else:
        seen = _seen(repository, key)
        ready = [(each, found) for each, found, slot in seen if slot.model]
    return {"model_stats": [metrics.of(*key).document(*key) for key in ready]}


def index(repository: Repository, key: "Key | None" = None, *, only_ready: bool) -> list[Document]:
    """Every version in the folder that the key sees, and its state."""
    return [
        {"name": name, "version": str(version), "state": slot.state, "reason": slot.reason}
        for name, version, slot in _seen(repository, key)
        if slot.model or not only_ready
    ]


def _seen(repository: Repository, key: "Key | None") -> Iterator[tuple[str, int, Slot]]:
    for found in repository.index():
        if key is None or key.scope.asks(found[0]):
            yield found


def _spec(spec: TensorSpec) -> Document:
    return {"name": spec.name, "datatype": spec.datatype.name, "shape": list(spec.shape)}


@cache
def _version() -> str:
    return distribution_version("tieshare")
