"""From the shared export to the packed one."""

from collections.abc import Mapping, Sequence

import onnx
from onnx import ModelProto

from tieshare.errors import ExportMismatch
from tieshare.exports.packed.coding import coded
from tieshare.exports.packed.grids import grids_of, loose_of, on_grids
from tieshare.exports.packed.opset import can_raise
from tieshare.exports.packed.strip import stripped
from tieshare.exports.packed.whole import FOUR_BIT_OPSET
from tieshare.exports.shared import Shared
from tieshare.exports.verify import check_equal
from tieshare.graph.tensors import Array
from tieshare.graph.view import opset_of


def packed(
    shared: Shared, bits: Mapping[str, int], samples: Sequence[Array] | None = None
) -> ModelProto:
    """The shared export with weights in ``bits`` (4, 8 or 16, by layer name), as small as it gets.

    1. Weights that are not on their grid are rounded to it, and other trained numbers to float16.
       Layers that are not named keep their weights; with no bits at all nothing is rounded.
    2. All else is exact. ONNX Runtime decodes it once, when it loads the file: what it then runs
       is the shared export.
    3. The smallest file that loads and computes what the rounded numbers do is the result, at
       most as large as the shared one. ``samples`` (one array an input) are what it is checked on.
    """
    grids = grids_of(shared, bits)
    loose = loose_of(shared) if grids else []
    rounded = on_grids(shared.model, grids, loose)
    own = opset_of(rounded)
    opsets = {own}
    if own < FOUR_BIT_OPSET and can_raise(rounded, FOUR_BIT_OPSET):
        opsets.add(FOUR_BIT_OPSET)
    made = [stripped(coded(rounded, grids, loose, opset)) for opset in opsets]
    made.append(stripped(rounded))
    ordered = sorted(made, key=ModelProto.ByteSize)
    sound = (small for small in ordered if _is_sound(small, rounded, samples))
    return next(sound, shared.model)


def _is_sound(small: ModelProto, model: ModelProto, samples: Sequence[Array] | None) -> bool:
    """Whether ``small`` is valid and computes what ``model`` does."""
    try:
        onnx.checker.check_model(small)
        check_equal(model, small, samples)
    except (onnx.checker.ValidationError, ExportMismatch):
        return False
    return True
