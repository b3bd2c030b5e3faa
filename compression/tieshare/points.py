"""From an epoch of the path and a preference to a network that is tied, retrained and rounded."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from tieshare.bits import choose_bits
from tieshare.cluster import tie
from tieshare.exports.rows import read_rows
from tieshare.exports.tied import tied
from tieshare.exports.widen import widen
from tieshare.graph import from_rows, tensors, to_rows
from tieshare.graph.layers import Layer
from tieshare.graph.tensors import Array, with_tensors
from tieshare.job import Job
from tieshare.rearm import NORMS
from tieshare.search import Candidate, Point
from tieshare.stage2 import Retraining
from tieshare.ties import find_ties

# Of all weights: ties in a layer with less save next to nothing, and cost accuracy as any do.
_LEAST_SHARE = 0.02


@dataclass(frozen=True, eq=False)
class _Made:
    """A retrained point: what it changed of ``Job.start``, and its layers' bits.

    Read from a checkpoint, ``values`` lie in its file and not in memory.
    """

    values: Mapping[str, Array]
    bits: Mapping[str, int]
    unsettled: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Ties:
    """Labels (rows,) of the rows of some weights; layers that did not come to rest."""

    labels: Mapping[str, NDArray[np.int64]]
    unsettled: tuple[str, ...]


class Points:
    """Makes candidates; what was retrained is kept among the checkpoints.

    ``layers``: names of the regularised layers, whose rows may be tied.
    """

    def __init__(self, job: Job, layers: Collection[str]) -> None:
        self.job, self.layers = job, layers
        self.ties: dict[tuple[int, float], _Ties] = {}
        self.ratios: dict[tuple[int, float], float] = {}

    def ratio(self, point: Point) -> float:
        """The compression ratio that the point will have; retraining does not change it."""
        place = _place(point)
        if place not in self.ratios:
            self.ratios[place] = self.job.count(self.start(point)).compression_ratio
        return self.ratios[place]

    def missing(self, points: Sequence[Point]) -> list[Point]:
        """Those that are not retrained yet."""
        return [point for point in points if not self.job.checkpoints.holds(_made(point))]

    def train(self, point: Point) -> None:
        """Stage 2 at this point, up to the checkpoint that ``retrain`` makes its candidate of."""
        self._store(point, self._make(point))

    def retrain(self, point: Point) -> Candidate:
        """Stage 2 at this point."""
        if self.missing([point]):
            self.train(point)
        made = self._stored(point)
        final = with_tensors(self.job.start, made.values)
        right = self.job.trainer.right(self.job.twin(final))
        counts = self.job.count(final)
        return Candidate(
            point,
            partial(self._file, made),
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
            lambda: self.job.model,
            self.job.dense,
            counts.unique_parameters,
            counts.compression_ratio,
        )

    def start(self, point: Point) -> ModelProto:
        """The network of that epoch, with each cluster of rows set to its mean."""
        job, place = self.job, _place(point)
        values = job.checkpoints.load_arrays(f"epoch-{point.epoch}") or {}
        sparse = tied(job.start, values, job.structure)
        if not job.recipe.tie:
            return sparse
        stored = tensors(sparse)
        rows = {
            layer.weight: (layer, to_rows(layer, stored[layer.weight]))
            for layer in job.structure.layers
            if layer.name in self.layers
        }
        if place not in self.ties:
            self.ties[place] = self._find_ties(rows, point.preference)
        labels = self.ties[place].labels
        means = {name: tie(rows[name][1], found) for name, found in labels.items()}
        made = {name: from_rows(rows[name][0], W) for name, W in means.items()}
        return tied(sparse, made, job.structure)

    def _file(self, made: _Made) -> ModelProto:
        """The tied model."""
        return self.job.tied_file(with_tensors(self.job.start, made.values))

    def _make(self, point: Point) -> _Made:
        """Retrain, then go on with the values of the layers rounded to the point's bits.

        What does not depend on the bits is done once for all points of an epoch and preference.
        """
        job, name, exact = self.job, _name(point), _exact(point)
        start = self.start(point)
        known = self.known(start)
        training = Retraining(start, job.values, job.trainer, job.recipe, job.plan.retrain_epochs)
        saved = job.checkpoints.load(name)
        if saved is not None:
            training.restore(saved)
        elif (retrained := job.checkpoints.load(exact)) is not None:
            training.skip(retrained)
        job.narrator.restart()
        while training.done < job.plan.stage2_epochs:
            if training.done == job.plan.retrain_epochs:
                if not job.checkpoints.holds(exact):
                    job.checkpoints.save(exact, training.network.state_dict())
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
        found = self.ties.get(_place(point))
        return _Made(changed, training.bits, () if found is None else found.unsettled)

    def _stored(self, point: Point) -> _Made:
        state = self.job.checkpoints.load(_made(point)) or {}
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

    def _find_ties(self, rows: Mapping[str, tuple[Layer, Array]], preference: float) -> _Ties:
        """Of layers that are a part of the network worth tying, by weight."""
        recipe, labels, unsettled = self.job.recipe, {}, []
        least = _LEAST_SHARE * sum(la.rows * la.columns for la in self.job.structure.layers)
        for weight, (layer, W) in rows.items():
            if W.size >= least:
                found = find_ties(W, recipe.tie_by, preference, seed=recipe.seed)
                labels[weight] = found.labels
                if not found.converged:
                    unsettled.append(layer.name)
        return _Ties(labels, tuple(unsettled))


def checkpoints_of(point: Point) -> list[str]:
    """The names of all that ``Points.train`` reads and leaves there."""
    return [NORMS, f"epoch-{point.epoch}", _exact(point), _name(point), _made(point)]


def _place(point: Point) -> tuple[int, float]:
    """Rounding does not tie."""
    return point.epoch, point.preference


def _exact(point: Point) -> str:
    return f"exact-{_named(_place(point))}"


def _made(point: Point) -> str:
    return f"made-{_name(point)}"


def _name(point: Point) -> str:
    return f"point-{_named(_place(point))}-{point.bits}"


def _named(place: tuple[int, float]) -> str:
    epoch, preference = place
    return f"{epoch}-{preference:g}"
