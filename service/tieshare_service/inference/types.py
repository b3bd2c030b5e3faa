"""Requests and responses of the protocol, whatever carried them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tieshare_service.inference.datatypes import Datatype

TIMEOUT_S = 60.0

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of a model; -1 stands for a free dimension."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class InputTensor:
    """An input as it came.

    ``data``: JSON, a list that is flat or nested, or a flat array of float64, int64 or uint64 for
    a datatype of that kind; or else little-endian bytes.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    data: list[Any] | Array | memoryview


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the caller asked for, as JSON or as bytes.

    ``classes``: its so many largest entries, where that is above 0.
    """

    name: str
    binary: bool
    classes: int = 0


@dataclass(frozen=True, slots=True)
class InferRequest:
    """``outputs`` empty means all of the model's, each as bytes if ``binary``.

    ``timeout_s``: a request that has waited longer for its run is dropped.
    """

    id: str
    inputs: tuple[InputTensor, ...]
    outputs: tuple[RequestedOutput, ...]
    binary: bool
    timeout_s: float = TIMEOUT_S


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One result."""

    spec: TensorSpec
    array: Array
    binary: bool


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class InferResponse:
    """The results, in the order asked for, and the version that gave them.

    ``ran``: the run that they are from.
    """

    model: str
    version: int
    id: str
    outputs: tuple[OutputTensor, ...]
    ran: Ran
