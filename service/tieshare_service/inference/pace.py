"""How long a model's runs take, by the size of their inputs."""


class Pace:
    """A moving average of run times for each power of two of input elements.

    A size not yet seen is expected to cost what the nearest smaller one does, in proportion:
    at or above the truth, since part of the cost of a small run is fixed.
    """

    _KEEP = 0.75
    # a run that the machine interrupted must not make a fast model look slow
    _LARGEST_STEP = 4.0

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def observe(self, elements: int, seconds: float) -> None:
        """Add one run; safe from any thread, for the last write wins."""
        bits = elements.bit_length()
        known = self._seconds.get(bits, seconds)
        seen = min(seconds, self._LARGEST_STEP * known)
        self._seconds[bits] = self._KEEP * known + (1 - self._KEEP) * seen

    def expected(self, elements: int) -> float:
        """Seconds that a run on so many input elements may take; infinity if none was seen."""
        bits = elements.bit_length()
        known = self._seconds.get(bits)
        if known is not None:
            return known
        seen = list(self._seconds)
        below = max((b for b in seen if b < bits), default=None)
        if below is not None:
            return self._seconds[below] * float(2 ** (bits - below))
        return self._seconds[min(seen)] if seen else float("inf")
