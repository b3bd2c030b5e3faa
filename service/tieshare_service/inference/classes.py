"""The largest entries of an output with their places, as the classification extension writes."""

from math import prod

import numpy as np

from tieshare_service.inference.datatypes import BOOL, BYTES
from tieshare_service.inference.errors import BadTensor
from tieshare_service.inference.types import Array, TensorSpec


def classified(spec: TensorSpec, values: Array, count: int) -> tuple[TensorSpec, Array]:
    """Strings "VALUE:PLACE", the largest first: (batch, count), or (count,) without a batch.

    Places count all entries of a sample, row by row; where there are fewer than ``count``, all of
    them come. Raises BadTensor where entries have no order.
    """
    if spec.datatype in (BYTES, BOOL):
        raise BadTensor(f"output {spec.name!r} is {spec.datatype.name}, which can't be classified")
    batch = values if values.ndim > 1 else values.reshape(1, -1)
    flat = batch.reshape(len(batch), prod(batch.shape[1:]))
    # a stable sort: of equal entries the first comes first
    places = np.argsort(-flat.astype(np.float64), axis=1, kind="stable")[:, :count]
    largest = np.take_along_axis(flat, places, axis=1)
    written = "{:f}:{}" if values.dtype.kind == "f" else "{}:{}"
    pairs = zip(largest.ravel(), places.ravel(), strict=True)
    texts: Array = np.array([written.format(value, place) for value, place in pairs], dtype=object)
    shape = places.shape if values.ndim > 1 else places.shape[1:]
    return TensorSpec(spec.name, BYTES, shape), texts.reshape(shape)
