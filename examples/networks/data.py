"""Small data sets, learned in seconds: images of digits, and sequences drawn from a seed.

Each function returns arrays by name, as a job takes them: inputs under the names of the model's
inputs, labels as ``y``, or as ``y_NAME`` where there are several outputs. ``parted`` makes splits.
"""

from collections.abc import Mapping
from functools import cache

import numpy as np
from sklearn.datasets import load_digits

Arrays = dict[str, np.ndarray]

VOCABULARY = 16
MARKERS = 4
_MARKED = 3


def digits(side: int = 8) -> Arrays:
    """1,797 images (n, 1, side, side) from 0 to 1 of ten digits, and their classes (n,)."""
    images, labels = _scanned()
    times = side // 8
    x = np.kron((images / 16).reshape(-1, 1, 8, 8), np.ones((1, 1, times, times)))
    border = (side - 8 * times) // 2
    x = np.pad(x, [(0, 0), (0, 0), (border, border), (border, border)])
    return {"x": x.astype(np.float32), "y": labels.astype(np.int64)}


@cache
def _scanned() -> tuple[np.ndarray, np.ndarray]:
    images, labels = load_digits(return_X_y=True)
    return images, labels


def halves() -> Arrays:
    """The upper half of a digit as an image (n, 1, 4, 8), the lower half as numbers (n, 32)."""
    whole = digits()
    upper, lower = np.split(whole["x"], 2, axis=2)
    return {"upper": upper, "lower": lower.reshape(-1, 32), "y": whole["y"]}


def restored() -> Arrays:
    """Digits that are their own target."""
    x = digits()["x"]
    return {"x": x, "y": x}


def digit_and_ink() -> Arrays:
    """Two questions: the class (n,), and the mean darkness (n, 1), about 0 and 1 on average."""
    whole = digits()
    ink = whole["x"].mean(axis=(1, 2, 3))[:, None]
    return {
        "x": whole["x"],
        "y_digit": whole["y"],
        "y_ink": ((ink - ink.mean()) / ink.std()).astype(np.float32),
    }


def noisy_ink(seed: int = 0) -> Arrays:
    """Digits (n, 1, 16, 16) under noise, and for each pixel (n, 16, 16) whether it is ink."""
    clean = digits(16)["x"]
    noise = np.random.default_rng(seed).normal(size=clean.shape)
    return {
        "x": (clean + 0.4 * noise).astype(np.float32),
        "y": (clean[:, 0] > 0.5).astype(np.int64),
    }


def first_marker(n: int = 2000, steps: int = 12, seed: int = 0) -> Arrays:
    """Tokens (n, steps), and which of the markers, the first four tokens, comes first (n,)."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(MARKERS, VOCABULARY, size=(n, steps))
    places = np.sort(rng.permuted(np.tile(np.arange(steps), (n, 1)), axis=1)[:, :_MARKED], axis=1)
    markers = rng.integers(MARKERS, size=(n, _MARKED))
    np.put_along_axis(tokens, places, markers, axis=1)
    return {"tokens": tokens, "y": markers[:, 0]}


def progressions(n: int = 2000, steps: int = 12, seed: int = 0) -> Arrays:
    """Counting in equal strides, modulo the vocabulary; after each token, the next (n, steps)."""
    rng = np.random.default_rng(seed)
    start = rng.integers(VOCABULARY, size=(n, 1))
    stride = rng.integers(1, 6, size=(n, 1))
    counted = (start + stride * np.arange(steps + 1)) % VOCABULARY
    return {"tokens": counted[:, :-1], "y": counted[:, 1:]}


def parted(arrays: Mapping[str, np.ndarray], seed: int = 0) -> Arrays:
    """60 % to train on, 15 % to choose on (``NAME_val``), 25 % to report on (``NAME_test``)."""
    n = len(next(iter(arrays.values())))
    order = np.random.default_rng(seed).permutation(n)
    train, held_out, test = np.split(order, [int(0.6 * n), int(0.75 * n)])
    splits = {"": train, "_val": held_out, "_test": test}
    return {
        name + ending: array[index]
        for ending, index in splits.items()
        for name, array in arrays.items()
    }
