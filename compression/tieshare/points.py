"""From an epoch of the path and a preference to a network that is tied, retrained and rounded."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import ModelProto

from tieshare.bits import choose_bits
from tieshare.cluster import tie
from tieshare.exports.rows import read_rows
from tieshare.exports.tied import tied
from tieshare.exports.widen import widen
from tieshare.graph import from_rows, tensors, to_rows
from tieshare.graph.tensors import Array, with_tensors
from tieshare.job import Job
from tieshare.search import Candidate, Point
from tieshare.stage2 import Retraining
from tieshare.ties import find_ties

# Of all weights: ties in a layer with less save next to nothing, and cost accuracy as any do.
_LEAST_SHARE = 0.02


@dataclass(frozen=True, eq=False)
class _Made:
    """A retrained point: what it changed of ``Job.start``, and its layers' bits."""

    values: Mapping[str, Array]
    bits: Mapping[str, int]
    unsettled: tuple[str, ...]


class Points:
    """Makes candidates; what was retrained is kept among the checkpoints.

    ``layers``: names of the regularised layers, whose rows may be tied.
    """

    def __init__(self, job: Job, layers: Collection[str]) -> None:
        self.job, self.layers = job, layers
        self.tied: dict[tuple[int, float], ModelProto] = {}
        self.unsettled: dict[tuple[int, float], tuple[str, ...]] = {}

    def ratio(self, point: Point) -> float:
        """The compression ratio that the point will have; retraining does not change it."""
        return self.job.count(self.start(point)).compression_ratio

    def missing(self, points: Sequence[Point]) -> list[Point]:
        """Those that are not retrained yet."""
        return [point for point in points if not self.job.checkpoints.holds(_made(point))]

    def train(self, point: Point) -> _Made:
        """Stage 2 at this point, up to the checkpoint that ``retrain`` makes its candidate of."""
        made = self._make(point)
        self._store(point, made)
        return made

    def retrain(self, point: Point) -> Candidate:
        """Stage 2 at this point."""
        made = self._stored(point) or self.train(point)
        final = with_tensors(self.job.start, made.values)
        right = self.job.trainer.right(self.job.twin(final))
        counts = self.job.count(final)
        return Candidate(
            point,
            self.job.tied_file(final),
            right,
            counts.unique_parameters,
            counts.compression_ratio,
            tuple(sorted(made.bits.items())),
            made.unsettled,
        )

    def dense(self) -> Candidate:
        """The uploaded network itself, which loses nothing."""
        point = Point(0, self.job.recipe.preference)
        counts = self.job.count(self.job.model)
        return Candidate(
            point,
            self.job.model,
            self.job.dense,
            counts.unique_parameters,
            counts.compression_ratio,
        )

    def start(self, point: Point) -> ModelProto:
        """The network of that epoch, with each cluster of rows set to its mean."""
        place = point.epoch, point.preference
        if place not in self.tied:
            values = self.job.checkpoints.load_arrays(f"epoch-{point.epoch}") or {}
            sparse = tied(self.job.start, values, self.job.structure)
            ties = self._ties(sparse, point) if self.job.recipe.tie else {}
            self.tied[place] = tied(sparse, ties, self.job.structure)
        return self.tied[place]

    def _make(self, point: Point) -> _Made:
        """Retrain, then go on with the values of the layers rounded to the point's bits."""
        job, name = self.job, _name(point)
        start = self.start(point)
        known = self.known(start)
        training = Retraining(start, job.values, job.trainer, job.recipe, job.plan.retrain_epochs)
        saved = job.checkpoints.load(name)
        if saved is not None:
            training.restore(saved)
        job.narrator.restart()
        while training.done < job.plan.stage2_epochs:
            if training.done == job.plan.retrain_epochs:
                training.round(choose_bits(training, point.bits), job.plan.round_epochs)
            score = training.epoch()
            job.checkpoints.save(name, training.state())
            job.narrator.retrain(training.done, known | job.trainer.named(score))
        values = widen(start, job.structure, training.network.tensors())
        final = tensors(tied(start, values, job.structure))
        before = tensors(job.start)
        changed = {
            key: array for key, array in final.items() if not np.array_equal(array, before[key])
        }
        unsettled = self.unsettled.get((point.epoch, point.preference), ())
        return _Made(changed, training.bits, unsettled)

    def _stored(self, point: Point) -> _Made | None:
        state = self.job.checkpoints.load(_made(point))
        if state is None:
            return None
        values = {key: array.numpy() for key, array in state["values"].items()}
        return _Made(values, state["bits"], tuple(state["unsettled"]))

    def _store(self, point: Point, made: _Made) -> None:
        values = {key: torch.from_numpy(array.copy()) for key, array in made.values.items()}
        state = {"values": values, "bits": dict(made.bits), "unsettled": list(made.unsettled)}
        self.job.checkpoints.save(_made(point), state)
        self.job.checkpoints.drop(_name(point))

    def known(self, start: ModelProto) -> dict[str, float]:
        """The metrics that retraining does not change, of the regularised layers."""
        values = tensors(start)
        layers = [layer for layer in self.job.structure.layers if layer.name in self.layers]
        found = [read_rows(to_rows(layer, values[layer.weight])) for layer in layers]
        return {
            "compression_ratio": self.job.count(start).compression_ratio,
            "alive_rows": float(sum(len(rows.alive) for rows in found)),
            "clusters": float(sum(rows.clusters for rows in found)),
        }

    def _ties(self, sparse: ModelProto, point: Point) -> dict[str, Array]:
        values = tensors(sparse)
        layers = self.job.structure.layers
        least = _LEAST_SHARE * sum(layer.rows * layer.columns for layer in layers)
        made = {}
        for layer in layers:
            if layer.name in self.layers and layer.rows * layer.columns >= least:
                W = to_rows(layer, values[layer.weight])
                found = find_ties(
                    W, self.job.recipe.tie_by, point.preference, seed=self.job.recipe.seed
                )
                made[layer.weight] = from_rows(layer, tie(W, found.labels))
                if not found.converged:
                    place = point.epoch, point.preference
                    self.unsettled[place] = (*self.unsettled.get(place, ()), layer.name)
        return made


def _made(point: Point) -> str:
    return f"made-{_name(point)}"


def _name(point: Point) -> str:
    return f"point-{point.epoch}-{point.preference:g}-{point.bits}"
