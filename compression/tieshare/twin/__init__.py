"""The trainable twin of an ONNX graph, in torch."""

from tieshare.twin.module import Twin, from_onnx

__all__ = ["Twin", "from_onnx"]
