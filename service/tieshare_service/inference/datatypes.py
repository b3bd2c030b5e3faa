"""The one table of tensor datatypes: protocol name, ONNX Runtime name, numpy dtype."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Datatype:
    """One datatype of the protocol.

    ``name``      in the protocol, "FP32".
    ``onnx``      in ONNX Runtime, "tensor(float)".
    ``dtype``     of the numpy array that ONNX Runtime takes; little-endian, as on the wire.
    ``typecode``  of the ``array.array`` that reads JSON numbers: it refuses other types and, for
                  integers, numbers out of range. Empty for BYTES.
    """

    name: str
    onnx: str
    dtype: np.dtype[Any]
    typecode: str


BYTES = Datatype("BYTES", "tensor(string)", np.dtype(object), "")
BOOL = Datatype("BOOL", "tensor(bool)", np.dtype("?"), "B")
FP16 = Datatype("FP16", "tensor(float16)", np.dtype("<f2"), "d")

TABLE = (
    BOOL,
    Datatype("UINT8", "tensor(uint8)", np.dtype("u1"), "B"),
    Datatype("UINT16", "tensor(uint16)", np.dtype("<u2"), "H"),
    Datatype("UINT32", "tensor(uint32)", np.dtype("<u4"), "I"),
    Datatype("UINT64", "tensor(uint64)", np.dtype("<u8"), "Q"),
    Datatype("INT8", "tensor(int8)", np.dtype("i1"), "b"),
    Datatype("INT16", "tensor(int16)", np.dtype("<i2"), "h"),
    Datatype("INT32", "tensor(int32)", np.dtype("<i4"), "i"),
    Datatype("INT64", "tensor(int64)", np.dtype("<i8"), "q"),
    FP16,
    Datatype("FP32", "tensor(float)", np.dtype("<f4"), "f"),
    Datatype("FP64", "tensor(double)", np.dtype("<f8"), "d"),
    BYTES,
)
BY_NAME = {datatype.name: datatype for datatype in TABLE}
BY_ONNX = {datatype.onnx: datatype for datatype in TABLE}
