"""What an operator is to the twin."""

from collections.abc import Callable

from torch import Tensor

from tieshare.graph.view import Node

# Called with the node's inputs that are data, in order, None for one left out.
Operation = Callable[..., Tensor]

# Reads a node's options once. An Operation that is a torch module becomes part of the twin.
Builder = Callable[[Node], Operation]
