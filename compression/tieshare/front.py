"""The front as people see it, in progress and in the report."""

from collections.abc import Sequence

from tieshare.files import Files
from tieshare.job import Job
from tieshare.report import FrontPoint
from tieshare.search import Candidate


def front_points(
    job: Job, front: Sequence[Files], chosen: Candidate | None
) -> tuple[FrontPoint, ...]:
    """Numbered from 1; ``chosen``: the one that the target picks."""
    return tuple(
        FrontPoint(
            point=number,
            unique_parameters=files.candidate.unique,
            compression_ratio=files.candidate.ratio,
            bytes=files.bytes,
            packed_bytes=files.packed_bytes,
            macs=files.macs,
            latency_us=dict(files.latency_us),
            **job.trainer.named(files.candidate.score),
            chosen=files.candidate is chosen,
        )
        for number, files in enumerate(front, start=1)
    )
