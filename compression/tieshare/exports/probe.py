"""Values inside a graph, as ONNX Runtime computes them."""

from collections.abc import Iterable, Mapping

from onnx import ModelProto, ValueInfoProto

from tieshare.graph.tensors import Array
from tieshare.measure import session


def inner_values(
    model: ModelProto, fed: Mapping[str, Array], names: Iterable[str]
) -> dict[str, Array]:
    """The values ``names``, inputs among them, for these inputs, by name."""
    wanted = tuple(dict.fromkeys(names))
    made = [name for name in wanted if name not in fed]
    found = dict(fed)
    if made:
        probe = ModelProto()
        probe.CopyFrom(model)
        del probe.graph.output[:]
        probe.graph.output.extend(ValueInfoProto(name=name) for name in made)
        found |= dict(zip(made, session(probe).run(made, dict(fed)), strict=True))
    return {name: found[name] for name in wanted}
