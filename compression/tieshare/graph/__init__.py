"""The ONNX graph and what its rows mean. Nothing here imports torch."""

from tieshare.graph.check import check_operators
from tieshare.graph.head import Head, find_head, find_heads
from tieshare.graph.layers import Layer, from_rows, to_rows
from tieshare.graph.operators import OPERATORS
from tieshare.graph.read import LayerCard, ModelCard, TensorSpec, describe, read_model
from tieshare.graph.structure import Entries, Structure, structure_of
from tieshare.graph.tensors import tensors, with_tensors

__all__ = [
    "OPERATORS",
    "Entries",
    "Head",
    "Layer",
    "LayerCard",
    "ModelCard",
    "Structure",
    "TensorSpec",
    "check_operators",
    "describe",
    "find_head",
    "find_heads",
    "from_rows",
    "read_model",
    "structure_of",
    "tensors",
    "to_rows",
    "with_tensors",
]
