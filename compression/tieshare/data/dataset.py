"""Arrays by name, and the card that describes them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tieshare.errors import BadArray, DataMismatch

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Arrays by name, the first axis of each indexing samples."""

    arrays: Mapping[str, Array]


@dataclass(frozen=True)
class ArrayCard:
    """One array. ``dtype`` is numpy's name; the first axis of ``shape`` indexes samples."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class DatasetCard:
    """What an upload is answered with, and all that is needed to hold it against a model.

    ``samples``: the longest array's. ``ranges``: array name -> (least, greatest) value.
    """

    samples: int
    arrays: tuple[ArrayCard, ...]
    ranges: Mapping[str, tuple[float, float]]

    @classmethod
    def from_dict(cls, card: Mapping[str, Any]) -> "DatasetCard":
        """The card from its plain form, as ``dataclasses.asdict`` and JSON leave it."""
        arrays = (ArrayCard(a["name"], a["dtype"], tuple(a["shape"])) for a in card["arrays"])
        ranges = {name: (least, greatest) for name, (least, greatest) in card["ranges"].items()}
        return cls(card["samples"], tuple(arrays), ranges)


def describe_dataset(dataset: Dataset) -> DatasetCard:
    """Look at every value once.

    BadArray: no array, one that is empty, has no axis of samples, holds anything but numbers or
    booleans, NaN or infinity.
    """
    if not dataset.arrays:
        raise BadArray("the data set holds no array; it needs at least x and y")
    for name, array in dataset.arrays.items():
        check_array(name, array.dtype, array.shape)
    return DatasetCard(
        samples=max(len(array) for array in dataset.arrays.values()),
        arrays=tuple(
            ArrayCard(name, array.dtype.name, array.shape) for name, array in dataset.arrays.items()
        ),
        ranges={name: _range(name, array) for name, array in dataset.arrays.items()},
    )


def check_array(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """BadArray: not an array of numbers or booleans with at least one sample."""
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise refused_dtype(name, dtype)
    if not shape:
        raise BadArray(f"array {name!r} is a single value: it has no axis of samples", where=name)
    if 0 in shape:
        raise BadArray(f"array {name!r} is empty: its shape is {shape}", where=name)


def refused_dtype(name: str, dtype: object) -> BadArray:
    """The error for an array of anything but numbers and booleans."""
    return BadArray(
        f"array {name!r} has dtype {dtype}; booleans, integers and floats of up to 64 bits are "
        "accepted",
        where=name,
    )


def with_test(dataset: Dataset, test: Dataset) -> Dataset:
    """The data set with the arrays of ``test``, named as for training, as its test split.

    DataMismatch: it has a test split already.
    """
    arrays = dict(dataset.arrays)
    for name, array in test.arrays.items():
        renamed = f"{name.removesuffix('_train').removesuffix('_test')}_test"
        if renamed in arrays:
            raise DataMismatch(f"there are two test splits: {renamed!r} comes twice", where=name)
        arrays[renamed] = array
    return Dataset(arrays)


def _range(name: str, array: Array) -> tuple[float, float]:
    # NaN and infinity come through min and max, so that no array of flags is needed.
    least, greatest = array.min().item(), array.max().item()
    if array.dtype.kind == "f" and not (np.isfinite(least) and np.isfinite(greatest)):
        sample = int(np.argmin(np.isfinite(array).reshape(len(array), -1).all(axis=1)))
        raise BadArray(
            f"array {name!r} holds NaN or infinity, first in sample {sample}", where=name
        )
    return (int(least), int(greatest)) if array.dtype.kind == "b" else (least, greatest)
