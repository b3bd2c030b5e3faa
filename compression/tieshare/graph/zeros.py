"""Values that are zero whatever the network is given."""

from tieshare.graph.view import View

_SPREADING = ("Cast", "CastLike", "Expand", "Identity", "Reshape")


def is_zero(seen: View, name: str) -> bool:
    """Whether nodes make it by bringing stored zeros to a shape and a type.

    So torch's exporter writes a convolution without a bias where it is told not to optimise. Zeros
    that are stored as they are read don't count: they are a bias that training may change.
    """
    if name not in seen.producers:
        return False
    while name in seen.producers and seen.producers[name].operator in _SPREADING:
        name = seen.producers[name].inputs[0]
    return name in seen.tensors and not seen.tensors[name].any()
