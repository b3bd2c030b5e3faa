"""Inputs whose integers are looked up: tokens, categories, positions."""

from collections.abc import Iterator

from tieshare.graph.view import View

# What leaves the numbers themselves as they are.
_CARRIES = (
    "Cast",
    "Expand",
    "Flatten",
    "Identity",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)


def tables_of(seen: View) -> dict[str, int]:
    """Input name -> length V of the shortest stored table that its integers index by a Gather.

    ONNX takes -V to V - 1, negative ones counting from the end. Inputs that index no stored
    tensor, or only after some arithmetic, are left out.
    """
    lengths = {name: min(_lengths(name, seen), default=0) for name in seen.inputs}
    return {name: length for name, length in lengths.items() if length}


def _lengths(value: str, seen: View) -> Iterator[int]:
    pending = [value]
    while pending:
        for node, slot in seen.readers.get(pending.pop(), ()):
            if node.operator in _CARRIES and slot == 0:
                pending.append(node.outputs[0])
            elif node.operator == "Gather" and slot == 1 and node.inputs[0] in seen.tensors:
                yield seen.tensors[node.inputs[0]].shape[node.attributes.get("axis", 0)]
