"""Operator -> how it runs in torch, collected from the families."""

from collections.abc import Mapping

from tieshare.graph.view import Node
from tieshare.twin import (
    activations,
    arithmetic,
    attention,
    casts,
    control,
    convolution,
    deformable,
    filled,
    images,
    indexing,
    layers,
    linear_attention,
    logic,
    losses,
    normalisation,
    padding,
    pooling,
    quantisation,
    recurrent,
    reductions,
    resize,
    rois,
    rotary,
    scatter,
    shapes,
    signals,
)
from tieshare.twin.types import Builder, Operation


def operation(node: Node) -> Operation:
    """What runs the node."""
    return TABLE[node.operator](node)


TABLE: Mapping[str, Builder] = {
    **activations.BUILDERS,
    **arithmetic.BUILDERS,
    **attention.BUILDERS,
    **casts.BUILDERS,
    **control.builders(operation),
    **convolution.BUILDERS,
    **deformable.BUILDERS,
    **filled.BUILDERS,
    **images.BUILDERS,
    **indexing.BUILDERS,
    **layers.BUILDERS,
    **linear_attention.BUILDERS,
    **logic.BUILDERS,
    **losses.BUILDERS,
    **normalisation.BUILDERS,
    **padding.BUILDERS,
    **pooling.BUILDERS,
    **quantisation.BUILDERS,
    **recurrent.BUILDERS,
    **reductions.BUILDERS,
    **resize.BUILDERS,
    **rois.BUILDERS,
    **rotary.BUILDERS,
    **scatter.BUILDERS,
    **shapes.BUILDERS,
    **signals.BUILDERS,
}
