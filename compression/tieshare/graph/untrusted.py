"""What a parsed file may hide: weights in other files, names that are no text, endless graphs."""

from collections.abc import Iterable, Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import ModelProto, NodeProto, TensorProto

from tieshare.errors import ExternalData, NotOnnx, UnsupportedModel

MOST_NODES = 1_000_000


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


def check_length_inlined(model: ModelProto) -> None:
    """Raise UnsupportedModel where local functions, once inlined, make a graph without end.

    A function that is called twice by one that is called twice, and so on, doubles each time.
    """
    bodies = {(item.domain, item.name): item.node for item in model.functions}
    lengths: dict[tuple[str, str], int] = {}

    def length(nodes: Iterable[NodeProto], depth: int) -> int:
        total = 0
        for node in nodes:
            of = node.domain, node.op_type
            if of in bodies and of not in lengths:
                if depth > len(bodies):
                    raise UnsupportedModel(f"function {node.op_type!r} calls itself", where=of[1])
                lengths[of] = length(bodies[of], depth + 1)
            inner = sum(length(item.g.node, depth) for item in node.attribute if item.HasField("g"))
            total += lengths.get(of, 1) + inner
        return total

    if (nodes := length(model.graph.node, 0)) > MOST_NODES:
        raise UnsupportedModel(
            f"its functions make {nodes:.2g} nodes of it; at most {MOST_NODES:,} are taken"
        )


def _messages(message: Message) -> Iterator[Message]:
    """The message and all that it is made of."""
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in [value] if isinstance(value, Message) else value:
                yield from _messages(part)
