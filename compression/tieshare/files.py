"""The files of a point, and what was measured on them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from onnx import ModelProto

from tieshare.exports.choose import NOISE
from tieshare.exports.macs import macs
from tieshare.exports.packed import packed
from tieshare.exports.shared import Shared, shared
from tieshare.graph.layers import layers_of
from tieshare.graph.view import view
from tieshare.job import Job
from tieshare.measure import latencies
from tieshare.search import Candidate


@dataclass(frozen=True, eq=False)
class Files:
    """A candidate as a user gets it: all three files compute the same.

    ``bits``        of the values of each layer that was rounded, by its name.
    ``latency_us``  of the shared file, by batch size, on one thread.
    """

    candidate: Candidate
    shared: Shared
    packed: ModelProto
    bits: Mapping[str, int]
    macs: int
    latency_us: Mapping[int, float]

    @property
    def tied(self) -> ModelProto:
        """The uploaded graph with other values."""
        return self.candidate.tied

    @cached_property
    def bytes(self) -> int:
        """Of the shared file."""
        return self.shared.model.ByteSize()

    @cached_property
    def packed_bytes(self) -> int:
        """Of the packed file."""
        return self.packed.ByteSize()

    def beats(self, other: "Files") -> bool:
        """Whether it is nowhere worse than the other and somewhere better.

        In score and the bytes of both files; and not slower, beyond noise.
        """
        mine, others = self._marks(), other._marks()
        better = mine != others and all(a >= b for a, b in zip(mine, others, strict=True))
        return better and all(
            us <= (1 + NOISE) * other.latency_us[batch] for batch, us in self.latency_us.items()
        )

    def _marks(self) -> tuple[float, ...]:
        return self.candidate.score, -self.bytes, -self.packed_bytes


def make_files(job: Job, candidate: Candidate) -> Files:
    """Export the candidate and time it."""
    read = job.read_once(candidate.tied)
    small = shared(read, job.samples)
    by_weight = dict(candidate.bits)
    layers = [layer for layer in layers_of(view(read)) if layer.weight in by_weight]
    bits = {layer.name: by_weight[layer.weight] for layer in layers}
    timed = latencies({"shared": small.model}, job.samples)
    return Files(
        candidate,
        small,
        packed(small, bits, job.samples),
        bits,
        macs(small.model, job.samples),
        timed["shared"],
    )


def front_of(found: list[Files]) -> list[Files]:
    """Those that no other one beats, the largest network first."""
    best = [one for one in found if not any(other.beats(one) for other in found)]
    return sorted(best, key=lambda one: (-one.candidate.unique, -one.packed_bytes))
