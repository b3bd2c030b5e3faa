"""From points of the path to the front: retrained, exported, measured."""

from collections.abc import Callable, Collection, Mapping, Sequence

from tieshare.crew import Crew
from tieshare.exports.macs import macs
from tieshare.exports.packed import packed
from tieshare.exports.shared import Shared, simple
from tieshare.files import Files, front_of, make_files
from tieshare.front import front_points
from tieshare.job import Job
from tieshare.measure import latencies
from tieshare.points import Points
from tieshare.search import Candidate, Point

# Multiplications of a stage 2 in training, below which it ends sooner than a process starts.
_WORTH_A_PROCESS = 3e10


class Maker:
    """Makes the candidates of one job, and the files of those that may be on its front.

    ``layers``: names of the regularised layers, whose rows may be tied.
    """

    def __init__(self, job: Job, layers: Collection[str], crew: Crew) -> None:
        self.job, self.layers, self.crew = job, layers, crew
        self.points = Points(job, layers)
        self.files: dict[Point, Files] = {}
        self.candidates: list[Candidate] = []
        self.at_once = crew.room(job) if self._is_long() else 1

    def make(self, points: Sequence[Point]) -> list[Candidate]:
        """The candidates of these points; what comes to the front is told."""
        self._retrain_together(points)
        made = [self.points.retrain(point) for point in points]
        known = len(self.files)
        for item in sorted(made, key=lambda it: (it.unique, it.point.bits, -it.score)):
            if not any(_beats(one, item) for one in self.candidates):
                self.files_of(item)
            self.candidates.append(item)
        if len(self.files) > known:
            self.job.narrator.front(front_points(self.job, self.front(), None))
        return made

    def files_of(self, candidate: Candidate) -> Files:
        """The candidate's files, which are made once."""
        if candidate.point not in self.files:
            self.files[candidate.point] = make_files(self.job, candidate)
        return self.files[candidate.point]

    def front(self) -> list[Files]:
        """What is on the front by now, the largest network first."""
        return front_of(list(self.files.values()))

    def fits(self, point: Point) -> bool:
        """Whether the point is as small, or as fast, as the target asks."""
        name, wanted = self.job.recipe.target.asked
        found = LIMITS[name](self, point)
        return found <= wanted if name.startswith("max_") else found >= wanted

    def small(self, point: Point) -> Shared:
        """What will be the point's shared file, before it is retrained and measured."""
        return simple(self.job.read_once(self.job.tied_file(self.points.start(point))))

    def _retrain_together(self, points: Sequence[Point]) -> None:
        missing = self.points.missing(points)
        if len(missing) < 2 or self.at_once == 1:
            return
        with self.job.narrator.together(len(missing)) as told:
            self.crew.retrain(self.job, self.layers, missing, told)

    def _is_long(self) -> bool:
        job = self.job
        samples = len(job.splits.train) * job.plan.stage2_epochs
        return 3 * macs(job.model, job.samples) * samples >= _WORTH_A_PROCESS


def _ratio(maker: Maker, point: Point) -> float:
    return maker.points.ratio(point)


def _packed_bytes(maker: Maker, point: Point) -> float:
    if point in maker.files:
        return maker.files[point].packed_bytes
    small = maker.small(point)
    bits = {choice.layer: point.bits for choice in small.choices}
    return packed(small, bits, maker.job.samples).ByteSize()


def _latency_us(maker: Maker, point: Point) -> float:
    """For one sample, or for the only batch that the graph takes."""
    if point in maker.files:
        return next(iter(maker.files[point].latency_us.values()))
    timed = latencies({"": maker.small(point).model}, maker.job.samples, batches=(1,))[""]
    return next(iter(timed.values()))


LIMITS: Mapping[str, Callable[[Maker, Point], float]] = {
    "min_ratio": _ratio,
    "max_bytes": _packed_bytes,
    "max_latency_us": _latency_us,
}
"""From a target that bounds the size to what it bounds: by a point's files where they are made,
and before that by what they will be."""


def _beats(one: Candidate, other: Candidate) -> bool:
    """Whether the files of ``other`` need not be made: it is no smaller, and no better."""
    no_larger = one.unique <= other.unique and one.point.bits <= other.point.bits
    return no_larger and one.score >= other.score
