"""``tieshare models``."""

from tieshare_service.cli.files import Kind, file_commands
from tieshare_service.client import Layer, Model, Tensor


def tensor_text(tensor: Tensor) -> str:
    """A tensor on one line, such as ``x float32 [batch, 64]``."""
    sizes = ", ".join("?" if size is None else str(size) for size in tensor.shape)
    return f"{tensor.name} {tensor.dtype} [{sizes}]"


def _layer_text(layer: Layer) -> str:
    return f"{layer.name} {layer.operator} {layer.rows:,} rows of {layer.columns:,}"


def _details(model: Model) -> list[tuple[str, object]]:
    return [
        ("opset", model.opset),
        ("inputs", "\n".join(map(tensor_text, model.inputs))),
        ("outputs", "\n".join(map(tensor_text, model.outputs))),
        ("layers", "\n".join(map(_layer_text, model.layers))),
        ("sha256", model.sha256),
    ]


models = file_commands(
    Kind(
        noun="model",
        group=lambda client: client.models,
        columns={
            "id": lambda model: model.id,
            "name": lambda model: model.name,
            "parameters": lambda model: model.parameters,
            "bytes": lambda model: model.bytes,
            "created": lambda model: model.created_at,
        },
        details=_details,
    ),
    "models",
)
