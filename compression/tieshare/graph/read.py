"""Bytes to a model that can be trained, or the reason why not; and the card that describes it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, ValueInfoProto, checker, defs, helper, inliner, shape_inference

from tieshare.errors import NotOnnx, UnsupportedModel, UnsupportedOperator
from tieshare.graph.head import find_head
from tieshare.graph.layers import layers_of
from tieshare.graph.operators import check_operators
from tieshare.graph.shapes import check_shapes
from tieshare.graph.untrusted import refuse_broken_text, refuse_external_data
from tieshare.graph.view import View, view
from tieshare.graph.weights import weights_of

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
    """What an upload is answered with. ``parameters`` counts what training changes."""

    parameters: int
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layers: tuple[LayerCard, ...]


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
    head = find_head(model)
    check_operators(model, [head.output])
    _check_weights(view(model), head.output)
    return model


def describe(model: ModelProto) -> ModelCard:
    """The card of a model that ``read_model`` has accepted."""
    seen = view(model)
    trained = weights_of(seen, [find_head(model).output]).trained
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return ModelCard(
        parameters=sum(seen.tensors[name].size for name in trained),
        opset=opset,
        inputs=_specs(item for item in model.graph.input if item.name in seen.inputs),
        outputs=_specs(model.graph.output),
        layers=tuple(
            LayerCard(item.name, item.operator, item.rows, item.columns)
            for item in layers_of(seen)
            if item.weight in trained
        ),
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


def _check_weights(seen: View, output: str) -> None:
    weights = weights_of(seen, [output])
    trained = set(weights.trained)
    if not any(layer.weight in trained for layer in layers_of(seen)):
        raise UnsupportedModel(
            "there is nothing to compress: no Gemm, MatMul or ungrouped Conv with stored weights"
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
