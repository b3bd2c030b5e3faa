"""Where the numbers beside the marks of a chart go, so that none covers another or a mark."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

MARK = 8.0  # side of a mark, in typographic points as everything here
DIGIT, HEIGHT = 5.4, 8.0  # of a figure in 8 point type

_DISTANCES = (10.5, 15.0, 20.0, 26.0, 33.0)
_TURNS = (135, 90, 180, 45, 225, 270, 0, 315)
_MOVES = np.array(
    [
        (distance * math.cos(math.radians(turn)), distance * math.sin(math.radians(turn)))
        for distance in _DISTANCES
        for turn in _TURNS
    ]
)
_SAMPLES = 12  # of the line between two marks
_ON_MARK, _ON_LINE = 100.0, 1.0  # what it costs to cover one
_PER_POINT = 0.2  # what distance costs


def offsets(marks: Points, names: Sequence[str], lines: Sequence[Points]) -> Points:
    """How far the middle of each name lies from its mark: (n, 2), in typographic points.

    ``marks`` (n, 2) on paper; the names of earlier ones are served first, and an empty name takes
    no room. ``lines``: polylines (k, 2) that names keep off where there is room. A name goes where
    it covers least, and among equals nearest to its mark.
    """
    taken = [_boxes(marks, MARK, MARK, _ON_MARK)]
    taken += [_boxes(_sampled(line), 1.0, 1.0, _ON_LINE) for line in lines if len(line) > 1]
    obstacles = np.concatenate(taken)
    found = np.zeros_like(marks)
    for index, (mark, name) in enumerate(zip(marks, names, strict=True)):
        if name:
            boxes = _boxes(mark + _MOVES, DIGIT * len(name), HEIGHT, _ON_MARK)
            costs = _covered(boxes, obstacles) + _PER_POINT * np.hypot(*_MOVES.T)
            best = int(np.argmin(costs))
            found[index] = _MOVES[best]
            obstacles = np.vstack([obstacles, boxes[best]])
    return found


def _boxes(centres: Points, width: float, height: float, weight: float) -> Points:
    """Rows of x, y, half width, half height, weight: (n, 5)."""
    rest = np.broadcast_to((width / 2, height / 2, weight), (len(centres), 3))
    return np.column_stack([centres, rest])


def _sampled(line: Points) -> Points:
    """Points evenly along each stretch of a polyline."""
    part = np.linspace(0, 1, _SAMPLES)[:, None, None]
    return (line[:-1] + part * (line[1:] - line[:-1])).reshape(-1, 2)


def _covered(boxes: Points, obstacles: Points) -> Points:
    """The weights of all that each box covers (n,)."""
    apart = np.abs(boxes[:, None, :2] - obstacles[None, :, :2])
    reach = boxes[:, None, 2:4] + obstacles[None, :, 2:4]
    covers: Points = (apart < reach).all(axis=2) @ obstacles[:, 4]
    return covers
