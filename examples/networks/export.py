"""Torch's two exporters, each with a free batch or the sample's."""

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

# Torch's default one, and the one that goes through TorchScript.
Exporter = Literal["dynamo", "script"]
EXPORTERS: tuple[Exporter, ...] = get_args(Exporter)


def export(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    exporter: Exporter = "dynamo",
    *,
    free: bool = True,
    fold: bool = True,
    opset: int = 20,
) -> ModelProto:
    """The module, put into evaluation mode, as an ONNX model.

    ``inputs``  one example of each, batch first, by the name that it gets in the file.
    ``free``    the file takes any batch, and not the example's alone.
    ``fold``    constants are computed, and batch norms go into the convolutions before them.
    """
    options: dict[str, Any] = {
        "input_names": list(inputs),
        "output_names": list(outputs),
        "opset_version": opset,
    }
    # Both exporters warn about their own use of torch, and about packages that are not needed.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if exporter == "script":
            axes = {name: {0: "batch"} for name in (*inputs, *outputs)} if free else None
            options |= {"do_constant_folding": fold, "dynamic_axes": axes}
            return _script(module.eval(), tuple(inputs.values()), options)
        batch = torch.export.Dim("batch")
        options |= {
            "optimize": fold,
            "dynamic_shapes": ({0: batch},) * len(inputs) if free else None,
        }
        return _dynamo(module.eval(), tuple(inputs.values()), options)


def _dynamo(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> ModelProto:
    program = torch.onnx.export(module, inputs, dynamo=True, verbose=False, **options)
    if program is None:
        raise RuntimeError("the exporter gave nothing back")
    return program.model_proto


def _script(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> ModelProto:
    file = io.BytesIO()
    torch.onnx.export(module, inputs, file, dynamo=False, **options)  # type: ignore[arg-type]
    return onnx.load_model_from_string(file.getvalue())
