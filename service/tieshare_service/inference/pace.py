"""How long a model's runs take, by the size of their inputs."""

from collections.abc import Iterator


class Pace:
    """A moving average of run times for each power of two of input elements.

    No size is expected to cost more than a larger one does. One not yet seen is expected to cost
    what the nearest smaller one does, in proportion: at or above the truth, since part of the cost
    of a small run is fixed.
    """

    _KEEP = 0.75
    # a run that the machine interrupted must not make a fast model look slow
    _LARGEST_STEP = 4.0

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._expected: dict[int, float] = {}  # what follows from them

    def observe(self, elements: int, seconds: float) -> None:
        """Add one run; safe from any thread, for the last write wins."""
        bits = elements.bit_length()
        known = self._seconds.get(bits, seconds)
        seen = min(seconds, self._LARGEST_STEP * known)
        self._seconds[bits] = self._KEEP * known + (1 - self._KEEP) * seen
        self._expected = {}

    def expected(self, elements: int) -> float:
        """Seconds that a run on so many input elements may take; infinity if none was seen."""
        bits = elements.bit_length()
        known = self._expected.get(bits)
        if known is None:
            known = self._expected[bits] = min(self._bounds(bits), default=float("inf"))
        return known

    def _bounds(self, bits: int) -> Iterator[float]:
        seen = dict(self._seconds)
        yield from (seconds for size, seconds in seen.items() if size >= bits)
        if bits not in seen and (below := [size for size in seen if size < bits]):
            yield seen[max(below)] * float(2 ** (bits - max(below)))
