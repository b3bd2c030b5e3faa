"""Sizes: whole numbers made from lengths of axes, and the operators that make them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from onnx import numpy_helper

from tieshare.graph.view import Node

Length = tuple[str, int]  # of an axis of a value
Place = tuple[int, int, int]  # node, input slot, entry of the list that is read there

_MOST_AXES = 8


@dataclass(frozen=True)
class Size:
    """``number`` for the shapes at hand; ``of`` are the lengths that it was made from.

    ``free``     other inputs of the network give another number.
    ``product``  it is the product of the lengths, and of a number that may be written down.
    ``stated``   where that number is, or where one that is not free can be written down.
    ``rounded``  it is a quotient without its remainder.
    """

    number: int
    of: tuple[Length, ...] = ()
    free: bool = False
    product: bool = True
    stated: Place | None = None
    rounded: bool = False


List = tuple[Size, ...]
Rule = Callable[[Node, Sequence[List]], List | None]


def _made(x: Size, y: Size, number: int) -> Size:
    return Size(number, x.of + y.of, x.free or y.free, product=False)


def _product(x: Size, y: Size) -> Size:
    whole = x.product and y.product and None in (x.stated, y.stated)
    made = _made(x, y, x.number * y.number)
    return Size(made.number, made.of, made.free, whole, x.stated or y.stated)


def _quotient(x: Size, y: Size) -> Size | None:
    if x.number < 0 or y.number <= 0:
        return None
    number, rest = divmod(x.number, y.number)
    return Size(number, x.of + y.of, x.free or y.free, product=False, rounded=rest > 0)


def _remainder(x: Size, y: Size) -> Size | None:
    if x.number < 0 or y.number <= 0:
        return None
    return _made(x, y, x.number % y.number)


def _equal(x: Size, y: Size) -> Size:
    """A length equals no negative number, whatever it will be."""
    if any(size.number < 0 and not size.of for size in (x, y)) and x.number != y.number:
        return Size(0)
    return _made(x, y, int(x.number == y.number))


def _by_entry(run: Callable[[Size, Size], Size | None]) -> Rule:
    def rule(_: Node, read: Sequence[List]) -> List | None:
        if len(read) != 2 or not all(read):
            return None
        first, second = read
        length = max(len(first), len(second))
        if not {len(first), len(second)} <= {1, length}:
            return None
        pairs = zip(first * (length // len(first)), second * (length // len(second)), strict=True)
        found = [run(x, y) for x, y in pairs]
        return None if None in found else tuple(size for size in found if size is not None)

    return rule


def _by_number(run: Callable[[int, int], int]) -> Rule:
    return _by_entry(lambda x, y: _made(x, y, run(x.number, y.number)))


def _where(_: Node, read: Sequence[List]) -> List | None:
    length = max(map(len, read))
    if any(len(sizes) not in (1, length) for sizes in read) or not all(read):
        return None
    conditions, yes, no = (sizes * (length // len(sizes)) for sizes in read)
    chosen = [
        (condition, x if condition.number else y)
        for condition, x, y in zip(conditions, yes, no, strict=True)
    ]
    return tuple(
        _made(size, condition, size.number) if condition.of else size for condition, size in chosen
    )


def _concat(_: Node, read: Sequence[List]) -> List:
    return tuple(size for sizes in read for size in sizes)


def _constant(node: Node, read: Sequence[List]) -> List | None:
    """One whole number, as often as the only entry says."""
    value = node.setting("value")
    if len(read[0]) != 1 or read[0][0].free or read[0][0].number > _MOST_AXES or value is None:
        return None
    number = numpy_helper.to_array(value)
    if number.dtype.kind not in "iu":
        return None
    return (Size(int(number.item()), read[0][0].of, product=False),) * read[0][0].number


def _gather(_: Node, read: Sequence[List]) -> List | None:
    data, indices = read
    if any(index.of or not -len(data) <= index.number < len(data) for index in indices):
        return None
    return tuple(data[index.number] for index in indices)


def _slice(node: Node, read: Sequence[List]) -> List | None:
    bounds = [node.setting(name, slot) for slot, name in ((1, "starts"), (2, "ends"))]
    steps = node.setting("steps", 4, default=[1])
    if None in bounds or steps is None or any(len(bound) != 1 for bound in (*bounds, steps)):
        return None
    return read[0][bounds[0][0] : bounds[1][0] : steps[0]]


def _product_of_all(_: Node, read: Sequence[List]) -> List:
    return (reduce(_product, read[0], Size(1)),)


RULES: Mapping[str, Rule] = {
    "Add": _by_number(lambda x, y: x + y),
    "Concat": _concat,
    "ConstantOfShape": _constant,
    "Div": _by_entry(_quotient),
    "Equal": _by_entry(_equal),
    "Gather": _gather,
    "Max": _by_number(max),
    "Min": _by_number(min),
    "Mod": _by_entry(_remainder),
    "Mul": _by_entry(_product),
    "ReduceProd": _product_of_all,
    "Slice": _slice,
    "Sub": _by_number(lambda x, y: x - y),
    "Where": _where,
}
"""Operator -> what it makes of the lists that it reads, all of which are sizes."""
