"""Operator -> how it runs in torch, collected from the families."""

from collections.abc import Mapping

from tieshare.twin import activations, arithmetic, layers, normalisation, pooling, shapes
from tieshare.twin.types import Builder

TABLE: Mapping[str, Builder] = {
    **activations.BUILDERS,
    **arithmetic.BUILDERS,
    **layers.BUILDERS,
    **normalisation.BUILDERS,
    **pooling.BUILDERS,
    **shapes.BUILDERS,
}
