"""Requests and responses of the protocol, whatever carried them.

What is made for every request is not frozen: it would take three times as long to make.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tieshare_service.inference.datatypes import Datatype

TIMEOUT_S = 60.0

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a model, where -1 stands for a free dimension, or of a request."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


Data = list[Any] | Array | memoryview
"""Of an input as it came: JSON, a list that is flat or nested, or a flat array of float64, int64 or
uint64 for a datatype of that kind; or else little-endian bytes."""


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the caller asked for, as JSON or as bytes.

    ``classes``: its so many largest entries, where that is above 0.
    """

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class InferHeader:
    """A request but for its data; one object may be that of many requests.

    ``outputs`` empty means all of the model's, each as bytes if ``binary``.
    ``timeout_s``: a request that has waited longer for its run is dropped.
    """

    id: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[RequestedOutput, ...]
    binary: bool
    timeout_s: float = TIMEOUT_S


@dataclass(slots=True)
class InferRequest:
    """``data``: that of each of the header's inputs."""

    header: InferHeader
    data: Sequence[Data]


@dataclass(slots=True)
class OutputTensor:
    """One result."""

    spec: TensorSpec
    array: Array
    binary: bool


@dataclass(slots=True)
class Ran:
    """Outputs, and of the run they are from: when it began and ended, on perf_counter_ns.

    ``rows``   samples in the whole run.
    ``first``  whether these are the first of its requests.
    """

    arrays: Sequence[Array]
    began: int
    ended: int
    rows: int
    first: bool


@dataclass(slots=True)
class InferResponse:
    """The results, in the order asked for, and the version that gave them.

    ``ran``: the run that they are from.
    """

    model: str
    version: int
    id: str
    outputs: tuple[OutputTensor, ...]
    ran: Ran
