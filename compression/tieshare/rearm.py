"""Networks whose batch norms were folded away get them back for training, where that helps."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from onnx import ModelProto

from tieshare.checkpoint import Checkpoints
from tieshare.exports.unfold import Norm, folded_back, identity, norms_for, with_norms
from tieshare.graph.tensors import Array, with_tensors
from tieshare.stage1 import OF_STABLE, RATES, stable_rate
from tieshare.trainer import Trainer
from tieshare.twin import from_onnx

_TIMES = 4.0  # as large a rate as without, at least: then norms are missed
_FEWEST_SAMPLES = 8  # of a batch, whose spread says something about all data
NORMS = "norms"  # the checkpoint


@dataclass(frozen=True, eq=False)
class Rearmed:
    """``model`` computes what ``plain`` does; it has batch normalisation behind more layers.

    ``rate``: of learning, for stage 1, where a trial has found it.
    """

    plain: ModelProto
    model: ModelProto
    norms: tuple[Norm, ...] = ()
    rate: float | None = None

    def folded(self, made: ModelProto) -> ModelProto:
        """``plain`` with other values: it computes what ``made``, a trained ``model``, does."""
        stored = {item.name for item in made.graph.initializer}
        if not self.norms or stored.isdisjoint(self.norms[0].tensors):
            return made
        return with_tensors(self.plain, folded_back(made, self.norms))


def rearm(
    model: ModelProto,
    values: Sequence[str],
    trainer: Trainer,
    inputs: Sequence[Array],
    checkpoints: Checkpoints,
    asked: float | None = None,
) -> Rearmed:
    """The network to train: ``model``, or ``model`` with batch normalisation put back.

    ``values``  what the losses are put on.
    ``inputs``  the samples to train on, one array an input.
    ``asked``   the learning rate that is wanted, if any.

    1. A network in which no norm has a place is left alone, and one that as it is stands the rate
       that is asked for, or more than a quarter of the largest.
    2. So is one that with norms does not stand that rate, or four times as much as without.

    What was found is kept among the checkpoints: a job that goes on finds the same.
    """
    norms = norms_for(model, values)
    if not norms or trainer.batch < _FEWEST_SAMPLES:
        return Rearmed(model, model)
    saved = checkpoints.load(NORMS)
    if saved is None:
        rates = RATES if asked is None else (asked, asked / _TIMES)
        plain = stable_rate(from_onnx(model, values).to(trainer.device), trainer, rates)
        saved = {"rate": plain, "tensors": {}}
        larger = [rate for rate in rates if rate >= _TIMES * plain]
        if larger:
            found = identity(model, norms, inputs)
            twin = from_onnx(with_norms(model, norms, found), values)
            normed = stable_rate(twin.to(trainer.device), trainer, (*larger, plain))
            if normed > plain:
                stored = {name: torch.from_numpy(array) for name, array in found.items()}
                saved = {"rate": normed, "tensors": stored}
        checkpoints.save(NORMS, saved)
    rate = OF_STABLE * saved["rate"] if asked is None else None
    if not saved["tensors"]:
        return Rearmed(model, model, rate=rate)
    arrays = {name: tensor.numpy() for name, tensor in saved["tensors"].items()}
    return Rearmed(model, with_norms(model, norms, arrays), norms, rate)
