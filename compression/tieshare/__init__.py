"""Trained networks made smaller and faster: ONNX and arrays in, smaller ONNX out.

``compress`` is the whole job, in ``pipeline``. Its steps, in order: ``graph`` and ``data`` read,
``twin`` trains, ``stage1`` with the ``penalties``, ``cluster``, ``stage2`` and ``search`` find the
network, ``exports`` and ``report`` write and measure it. Importing this package loads none of
them: reading and exporting work without torch.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tieshare.errors import TieshareError
from tieshare.progress import Progress
from tieshare.recipe import Recipe, Target

if TYPE_CHECKING:
    from tieshare.pipeline import Result, compress

__all__ = ["Progress", "Recipe", "Result", "Target", "TieshareError", "compress"]

# ONNX Runtime tells its maker about every model that it loads, if nobody says otherwise before it
# is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    if name in ("Result", "compress"):
        return getattr(import_module("tieshare.pipeline"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
