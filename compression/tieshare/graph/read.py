"""Bytes to a model that can be trained, or the reason why not; and the card that describes it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, ValueInfoProto, checker, defs, helper, inliner, shape_inference

from tieshare.errors import NotOnnx, UnsupportedModel, UnsupportedOperator
from tieshare.graph.check import check_operators
from tieshare.graph.head import Head, find_heads
from tieshare.graph.layers import layers_of
from tieshare.graph.operators import WITHOUT_GRADIENT
from tieshare.graph.shapes import check_shapes
from tieshare.graph.tables import tables_of
from tieshare.graph.untrusted import (
    check_length_inlined,
    refuse_broken_text,
    refuse_external_data,
)
from tieshare.graph.view import Node, View, view
from tieshare.graph.weights import weights_of

_OLDEST_OPSET = 7
_UNDEFINED = onnx.TensorProto.UNDEFINED


@dataclass(frozen=True)
class TensorSpec:
    """An input or output. ``dtype`` is numpy's name; an axis is a length, a name, or None."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]


@dataclass(frozen=True)
class LayerCard:
    """One layer: its weight has ``rows`` rows of ``columns`` values."""

    name: str
    operator: str
    rows: int
    columns: int


@dataclass(frozen=True)
class ModelCard:
    """What an upload is answered with. ``parameters`` counts what training changes.

    ``tables``  input name -> length of the table that its integers are looked up in.
    ``axes``    output name -> axis, batch included, that its classes lie along, as far as known.
    """

    parameters: int
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[LayerCard, ...]
    tables: Mapping[str, int] = field(default_factory=dict)
    axes: Mapping[str, int] = field(default_factory=dict)


def read_model(data: bytes) -> ModelProto:
    """Parse and check a model from a stranger; no other file is ever opened.

    Local functions are inlined. NotOnnx, ExternalData, UnsupportedOperator, UnsupportedModel:
    in this order, the first that applies.
    """
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise NotOnnx(f"not an ONNX model: {error}") from error
    refuse_broken_text(model)
    refuse_external_data(model)
    try:
        checker.check_model(data)
        if model.functions:
            check_length_inlined(model)
            model = inliner.inline_local_functions(model)
        check_shapes(model)
    except (checker.ValidationError, shape_inference.InferenceError, ValueError) as error:
        _blame_operator(model, error)
        raise NotOnnx(f"not a sound ONNX model: {str(error).strip()}") from error
    except MemoryError as error:
        raise NotOnnx("not a sound ONNX model: its shapes do not fit into memory") from error
    if model.graph.sparse_initializer:
        name = model.graph.sparse_initializer[0].values.name
        raise UnsupportedModel(f"initializer {name!r} is sparse", where=name)
    _check_opset(model)
    outputs = [head.output for head in find_heads(model)]
    check_operators(model, outputs)
    _check_mode(view(model), outputs)
    _check_weights(view(model), outputs)
    return model


def describe(model: ModelProto) -> ModelCard:
    """The card of a model that ``read_model`` has accepted."""
    seen, heads = view(model), find_heads(model)
    trained = weights_of(seen, [head.output for head in heads]).trained
    return ModelCard(
        parameters=sum(seen.tensors[name].size for name in trained),
        opset=_opset(model),
        inputs=_specs(item for item in model.graph.input if item.name in seen.inputs),
        outputs=_outputs(model, heads),
        layers=tuple(
            LayerCard(item.name, item.operator, item.rows, item.columns)
            for item in layers_of(seen)
            if item.weight in trained
        ),
        tables=tables_of(seen),
        axes={head.output: head.axis for head in heads if head.axis is not None},
    )


def _blame_operator(model: ModelProto, error: Exception) -> None:
    """Name the node where the checker failed over an operator that can't be trained anyway.

    ONNX does not define it, or it is skl2onnx's ZipMap, whose output is declared with a wrong type.
    """
    opsets = {item.domain: item.version for item in model.opset_import}
    local = {(function.domain, function.name) for function in model.functions}
    for node in model.graph.node:
        zips = node.op_type == "ZipMap"
        sound = (node.domain, node.op_type) in local or defs.has(node.op_type, node.domain)
        if node.domain not in opsets or (sound and not zips):
            continue
        raise UnsupportedOperator(
            node=node.name or node.op_type,
            operator=node.op_type,
            opset=opsets[node.domain],
            reason="convert the classifier with zipmap=False"
            if zips
            else "ONNX does not define it",
        ) from error


def _check_opset(model: ModelProto) -> None:
    """ONNX Runtime runs some of the older ones, and not others."""
    opset = _opset(model)
    if opset < _OLDEST_OPSET:
        raise UnsupportedModel(
            f"the model is of opset {opset}; {_OLDEST_OPSET} and later can be compressed: "
            "onnx.version_converter makes it one of these"
        )


def _opset(model: ModelProto) -> int:
    imports = model.opset_import
    return next((int(o.version) for o in imports if o.domain in ("", "ai.onnx")), _OLDEST_OPSET)


def _check_mode(seen: View, outputs: Iterable[str]) -> None:
    """What runs on statistics of the batch, or drops values, is not yet the network to keep."""
    for node in seen.needed(outputs):
        if _is_training(node):
            raise UnsupportedOperator(
                node=node.name,
                operator=node.operator,
                opset=node.opset,
                reason="it was exported in training mode; export the model in evaluation mode",
            )
        for inner in node.graphs.values():
            _check_mode(inner, inner.outputs)


def _is_training(node: Node) -> bool:
    """Before opset 14 batch norm says so by naming more outputs than one."""
    if node.operator == "BatchNormalization":
        return node.setting("training_mode", default=0) == 1 or any(node.outputs[1:])
    return node.operator == "Dropout" and bool(node.setting("training_mode", 2))


def _check_weights(seen: View, outputs: Sequence[str]) -> None:
    weights = weights_of(seen, outputs)
    trained = set(weights.trained)
    if not any(layer.weight in trained for layer in layers_of(seen)):
        _blame_steps(seen, outputs)
        raise UnsupportedModel(
            "there is nothing to compress: no stored weight of a product, a convolution, a "
            "recurrent cell or a table"
        )
    for name in (*weights.trained, *weights.statistics):
        if seen.tensors[name].dtype not in (np.float32, np.float64):
            raise UnsupportedModel(
                f"tensor {name!r} is {seen.tensors[name].dtype}; weights of float32 and float64 "
                "can be trained",
                where=name,
            )
        if not np.isfinite(seen.tensors[name]).all():
            raise UnsupportedModel(f"tensor {name!r} holds NaN or infinity", where=name)


def _blame_steps(seen: View, outputs: Sequence[str]) -> None:
    """Name the last node that no gradient passes, which may be why none reaches a weight."""
    for node in reversed(seen.needed(outputs)):
        if node.operator in WITHOUT_GRADIENT and node.operator not in ("Constant", "Shape"):
            raise UnsupportedOperator(
                node=node.name,
                operator=node.operator,
                opset=node.opset,
                reason="no gradient passes it, so that nothing in front of it can be trained",
            )


def _outputs(model: ModelProto, heads: Iterable[Head]) -> tuple[TensorSpec, ...]:
    """As declared, but for what follows from the nodes."""
    shapes = {head.output: head.shape for head in heads}
    return tuple(
        replace(spec, shape=(*(spec.shape[:1] or (None,)), *shapes[spec.name]))
        if spec.name in shapes
        else spec
        for spec in _specs(model.graph.output)
    )


def _specs(items: Iterable[ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Tensors only: a sequence or a map has no spec."""
    specs = []
    for item in items:
        kind = item.type.tensor_type
        if kind.elem_type != _UNDEFINED:
            shape = tuple(dim.dim_value or dim.dim_param or None for dim in kind.shape.dim)
            specs.append(TensorSpec(item.name, _dtype_name(kind.elem_type), shape))
    return tuple(specs)


def _dtype_name(element: int) -> str:
    """numpy's name; that of a text is not "object", which may be anything."""
    if element == onnx.TensorProto.STRING:
        return "str"
    return np.dtype(helper.tensor_dtype_to_np_dtype(element)).name
