"""Sums of products: along axes that are summed a weight reads units, along others it makes them."""

from collections.abc import Sequence

from tieshare.graph.flow.values import Axis, Value
from tieshare.graph.flow.walk import Crossing

_MOST_AXES = 26


def matmul(here: Crossing) -> Sequence[Value]:
    """Axes in front of the last two are broadcast; a vector has one that is summed over."""
    x, y = here.inputs
    rank = max(len(x.shape), len(y.shape))
    if not x.shape or not y.shape or rank > _MOST_AXES:
        return here.hold()
    front = [chr(ord("A") + i) for i in range(max(rank - 2, 0))]
    left = "k" if len(x.shape) == 1 else "".join(front[rank - len(x.shape) :]) + "ik"
    right = "k" if len(y.shape) == 1 else "".join(front[rank - len(y.shape) :]) + "kj"
    result = front + [letter for letter, side in (("i", left), ("j", right)) if letter in side]
    return _sum_of_products(here, [(left, x), (right, y)], "".join(result))


def gemm(here: Crossing) -> Sequence[Value]:
    """A' B' + C."""
    node, walk = here.node, here.walk
    left = "ki" if node.setting("transA", default=0) else "ik"
    right = "jk" if node.setting("transB", default=0) else "kj"
    (made,) = _sum_of_products(here, [(left, here.inputs[0]), (right, here.inputs[1])], "ij")
    bias = here.input(2)
    if bias is None:
        return [made]
    axes = dict(made.axes)
    for place, length in enumerate(made.shape):
        own = place - (2 - len(bias.shape))
        if own >= 0 and bias.shape[own] == length:
            axis = walk.meet([made.axes.get(place), bias.axes.get(own)])
            if axis is not None:
                axes[place] = axis
    return [Value(made.shape, axes)]


def einsum(here: Crossing) -> Sequence[Value]:
    """A sum of products of two values that names each axis."""
    terms, arrow, result = here.node.attributes["equation"].replace(" ", "").partition("->")
    names = terms.split(",")
    plain = all(name.isalpha() and len(set(name)) == len(name) for name in names)
    if not plain or not arrow or len(names) != 2:
        return here.hold()
    if any(len(n) != len(value.shape) for n, value in zip(names, here.inputs, strict=True)):
        return here.hold()
    return _sum_of_products(here, list(zip(names, here.inputs, strict=True)), result)


def _sum_of_products(
    here: Crossing, terms: Sequence[tuple[str, Value]], result: str
) -> Sequence[Value]:
    """Two values with a letter for each axis; letters that ``result`` lacks are summed over."""
    lengths: dict[str, int] = {}
    for letters, value in terms:
        for letter, length in zip(letters, value.shape, strict=True):
            lengths[letter] = max(length, lengths.get(letter, 1))
    axes: dict[str, Axis] = {}
    pairs: list[tuple[Axis | None, Axis | None]] = []
    for letter, length in lengths.items():
        sides = [
            value.axes.get(letters.index(letter)) if letter in letters else None
            for letters, value in terms
        ]
        spread = [
            letter not in letters or value.shape[letters.index(letter)] != length
            for letters, value in terms
        ]
        if letter in result:
            axis = here.walk.meet([s for s, out in zip(sides, spread, strict=True) if not out])
            if axis is not None:
                axes[letter] = axis
        elif any(spread):
            here.walk.pin(*sides)
        elif any(sides):
            pairs.append((sides[0], sides[1]))
    if pairs:
        here.walk.contract(pairs)
    shape = tuple(lengths[letter] for letter in result)
    return [Value(shape, {result.index(letter): axis for letter, axis in axes.items()})]
