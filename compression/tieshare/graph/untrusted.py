"""What a parsed file may hide: weights in other files, and names that are no text."""

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import ModelProto, TensorProto

from tieshare.errors import ExternalData, NotOnnx


def refuse_external_data(model: ModelProto) -> None:
    """Raise ExternalData for the first tensor, anywhere, that points to another file.

    No path is followed, or even resolved.
    """
    for message in _messages(model):
        if not isinstance(message, TensorProto):
            continue
        if message.data_location == TensorProto.EXTERNAL or message.external_data:
            entries = {entry.key: entry.value for entry in message.external_data}
            raise ExternalData(
                f"tensor {message.name!r} lies in another file, {entries.get('location', '')!r}; "
                "save the model with its weights inside",
                where=message.name,
            )


def refuse_broken_text(model: ModelProto) -> None:
    """Raise NotOnnx for the first name, anywhere, that is not UTF-8: protobuf lets it pass."""
    for message in _messages(model):
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_STRING:
                for text in [value] if isinstance(value, str | bytes) else value:
                    if isinstance(text, bytes):
                        raise NotOnnx(f"{field.full_name} is not UTF-8: {text!r}")


def _messages(message: Message) -> Iterator[Message]:
    """The message and all that it is made of."""
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in [value] if isinstance(value, Message) else value:
                yield from _messages(part)
