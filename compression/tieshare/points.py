"""From an epoch of the path and a preference to a network that is tied and retrained."""

from collections.abc import Collection

from onnx import ModelProto

from tieshare.cluster import cluster_rows, tie
from tieshare.exports.count import Counts, count_tied
from tieshare.exports.rows import read_rows
from tieshare.exports.tied import tied
from tieshare.exports.widen import widen
from tieshare.graph import from_rows, tensors, to_rows
from tieshare.graph.tensors import Array
from tieshare.job import Job
from tieshare.search import Candidate, Point
from tieshare.stage2 import Retraining

# Of all weights: ties in a layer with less save next to nothing, and cost accuracy as any do.
_LEAST_SHARE = 0.02


class Points:
    """Makes candidates; what was retrained is kept among the checkpoints.

    ``layers``: names of the regularised layers, whose rows may be tied.
    """

    def __init__(self, job: Job, layers: Collection[str]) -> None:
        self.job, self.layers = job, layers
        self.made: dict[Point, ModelProto] = {}
        self.unsettled: dict[Point, tuple[str, ...]] = {}

    def ratio(self, point: Point) -> float:
        """The compression ratio that the point will have; retraining does not change it."""
        return self._count(self._tied(point)).compression_ratio

    def retrain(self, point: Point) -> Candidate:
        """Stage 2 at this point."""
        name = f"point-{point.epoch}-{point.preference:g}"
        start = self._tied(point)
        values = self.job.checkpoints.load_arrays(name)
        if values is None:
            values = self._train(start, name)
            self.job.checkpoints.save_arrays(name, values)
            self.job.checkpoints.drop(name)
        final = tied(start, values, self.job.structure)
        right = self.job.trainer.right(self.job.twin(final))
        unsettled = self.unsettled.get(point, ())
        return Candidate(point, final, right, *self._size(final), unsettled)

    def dense(self) -> Candidate:
        """The uploaded network itself, which loses nothing."""
        point = Point(0, self.job.recipe.preference)
        return Candidate(point, self.job.model, self.job.dense, *self._size(self.job.model))

    def _train(self, start: ModelProto, name: str) -> dict[str, Array]:
        job, epochs = self.job, self.job.plan.retrain_epochs
        training = Retraining(start, job.values, job.trainer, job.recipe, epochs)
        known = self.known(start)
        saved = job.checkpoints.load(name)
        if saved is not None:
            training.restore(saved)
        job.narrator.restart()
        while training.done < epochs:
            score = training.epoch()
            job.checkpoints.save(name, training.state())
            job.narrator.retrain(training.done, known | job.trainer.named(score))
        return widen(start, job.structure, training.network.tensors())

    def known(self, start: ModelProto) -> dict[str, float]:
        """The metrics that retraining does not change, of the regularised layers."""
        values = tensors(start)
        layers = [layer for layer in self.job.structure.layers if layer.name in self.layers]
        found = [read_rows(to_rows(layer, values[layer.weight])) for layer in layers]
        return {
            "compression_ratio": self._count(start).compression_ratio,
            "alive_rows": float(sum(len(rows.alive) for rows in found)),
            "clusters": float(sum(rows.clusters for rows in found)),
        }

    def _tied(self, point: Point) -> ModelProto:
        """The network of that epoch, with each cluster of rows set to its mean."""
        if point not in self.made:
            values = self.job.checkpoints.load_arrays(f"epoch-{point.epoch}") or {}
            sparse = tied(self.job.model, values, self.job.structure)
            ties = self._ties(sparse, point) if self.job.recipe.tie else {}
            self.made[point] = tied(sparse, ties, self.job.structure)
        return self.made[point]

    def _ties(self, sparse: ModelProto, point: Point) -> dict[str, Array]:
        values = tensors(sparse)
        layers = self.job.structure.layers
        least = _LEAST_SHARE * sum(layer.rows * layer.columns for layer in layers)
        made = {}
        for layer in layers:
            if layer.name in self.layers and layer.rows * layer.columns >= least:
                W = to_rows(layer, values[layer.weight])
                found = cluster_rows(W, point.preference, seed=self.job.recipe.seed)
                made[layer.weight] = from_rows(layer, tie(W, found.labels))
                if not found.converged:
                    self.unsettled[point] = (*self.unsettled.get(point, ()), layer.name)
        return made

    def _size(self, model: ModelProto) -> tuple[int, float]:
        counts = self._count(model)
        return counts.unique_parameters, counts.compression_ratio

    def _count(self, model: ModelProto) -> Counts:
        return count_tied(model, self.job.structure)
