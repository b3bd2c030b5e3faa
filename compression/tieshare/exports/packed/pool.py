"""Small vectors of floats, such as biases and scales, as float16 in one tensor."""

from collections.abc import Iterator, Mapping

import numpy as np
from onnx import TensorProto, helper

from tieshare.exports.packed.coded import Coded
from tieshare.exports.packed.floats import as_half, briefly
from tieshare.exports.packed.tensors import stored
from tieshare.graph.tensors import Array

_SPLIT_INPUT_OPSET = 13


def pool(arrays: Mapping[str, Array], stems: Iterator[str], opset: int) -> list[Coded]:
    """Floats by name, those as float16 that it holds exactly, where that is shorter.

    Vectors go into one tensor together where that takes fewer bytes than each on its own. No
    value is called anything that begins with one of the ``stems``.
    """
    alone = {name: briefly(array, name, next(stems)) for name, array in arrays.items()}
    vectors = {name: array for name, array in arrays.items() if _is_exact_vector(array)}
    if len(vectors) < 2:
        return list(alone.values())
    together = _together(vectors, next(stems), opset)
    if together.bytes() >= sum(alone[name].bytes() for name in vectors):
        return list(alone.values())
    return [together, *(alone[name] for name in alone.keys() - vectors.keys())]


def _is_exact_vector(array: Array) -> bool:
    vector = array.dtype == np.float32 and array.ndim == 1 and array.size
    return bool(vector) and as_half(array) is not None


def _together(vectors: Mapping[str, Array], stem: str, opset: int) -> Coded:
    """Split(Cast(halves)) into the vectors."""
    halves, wide, lengths = f"{stem}.0", f"{stem}.1", f"{stem}.2"
    sizes = [array.size for array in vectors.values()]
    tensors = [stored(np.concatenate([*vectors.values()]).astype(np.float16), halves)]
    cast = helper.make_node("Cast", [halves], [wide], to=TensorProto.FLOAT)
    if opset < _SPLIT_INPUT_OPSET:
        split = helper.make_node("Split", [wide], [*vectors], split=sizes)
    else:
        tensors.append(stored(np.array(sizes), lengths))
        split = helper.make_node("Split", [wide, lengths], [*vectors])
    return Coded(tuple(tensors), (cast, split))
