"""What a request is checked for in whatever form it came; ``of`` names the input or output."""

from collections.abc import Collection, Mapping
from typing import Any

from tieshare_service.inference.datatypes import BY_NAME, Datatype
from tieshare_service.inference.errors import BadBody, BadTensor
from tieshare_service.inference.types import TIMEOUT_S

_UNSUPPORTED = "shared_memory_region"


def refuse_regions(of: str, parameters: Collection[str]) -> None:
    """Raises BadTensor where a tensor is to lie in shared memory."""
    if _UNSUPPORTED in parameters:
        raise BadTensor(f"{of}: the parameter {_UNSUPPORTED} is not supported")


def datatype_of(of: str, name: Any) -> Datatype:
    """The datatype of this name; raises BadTensor."""
    if not isinstance(name, str) or name not in BY_NAME:
        raise BadTensor(f"{of}: datatype {name!r} is none of {', '.join(BY_NAME)}")
    return BY_NAME[name]


def shape_of(of: str, sizes: Any) -> tuple[int, ...]:
    """A list of sizes; raises BadTensor."""
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise BadTensor(f"{of}: shape is not a list of integers from 0 up")
    return tuple(sizes)


def classes_of(of: str, parameters: Mapping[str, Any]) -> int:
    """How many of its largest entries an output is asked for, 0 for all as they are.

    Raises BadTensor.
    """
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise BadTensor(f"{of}: classification is {classes!r}, not a number of classes from 0 up")
    return classes


def timeout_of(parameters: Mapping[str, Any]) -> float:
    """Seconds, of the parameter in microseconds, of which 0 is none; raises BadBody."""
    timeout = parameters.get("timeout", 0)
    if type(timeout) is str and timeout.isdigit() and len(timeout) < 19:
        timeout = int(timeout)
    if type(timeout) is not int or timeout < 0:
        raise BadBody(f"timeout is {timeout!r}, not a number of microseconds from 0 up")
    return timeout / 1e6 or TIMEOUT_S
