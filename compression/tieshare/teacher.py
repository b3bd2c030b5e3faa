"""What the uploaded model answers to the samples that are trained on."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from tieshare.augment import Moves, moved, ways
from tieshare.checkpoint import Checkpoints
from tieshare.device import running_on
from tieshare.objective import Objective
from tieshare.recipe import Augment
from tieshare.score import at_once, numbers
from tieshare.trainer import Loaded, Teacher, run, together

_MOST_KEPT = 1 << 28  # numbers, 1 GiB of float32
_NAME = "teacher"


def taught_by(
    network: nn.Module,
    train: Loaded,
    objective: Objective,
    augment: Augment,
    epochs: int,
    checkpoints: Checkpoints,
) -> Teacher:
    """The network's outputs: for each batch as it comes, or worked out once and kept.

    They are kept, one for each way in which a sample is moved, where they fit into memory and
    there are no more ways than ``epochs`` will ask for; and among the ``checkpoints``, for the
    other processes of the job.
    """
    if objective.distill == 0:
        return lambda *_: None
    goals, targets = objective.goals, [target.cpu().numpy() for target in train.targets]
    size = at_once(goals, targets)
    most = ways(augment) * len(train) * numbers(goals, targets)
    if ways(augment) > epochs or most > _MOST_KEPT:
        return lambda _index, _moves, inputs: together(run(network, inputs, size))
    kept = checkpoints.load_arrays(_NAME)
    if kept is None:
        answers = [
            together(_answers(network, train.inputs, augment, way, size))
            for way in range(ways(augment))
        ]
        outputs = map(torch.stack, zip(*answers, strict=True))
        kept = {str(place): output.cpu().numpy() for place, output in enumerate(outputs)}
        checkpoints.save_arrays(_NAME, kept)
    device = train.targets[0].device
    # (ways, samples, ...) each
    stored = [torch.from_numpy(kept[str(place)]).to(device) for place in range(len(kept))]
    if not augment.any:  # half the time of looking up the only way, in every step
        return lambda index, *_: tuple(output[0].index_select(0, index) for output in stored)
    return lambda index, moves, _inputs: tuple(output[moves.ways, index] for output in stored)


def _answers(
    network: nn.Module, inputs: Sequence[Tensor], augment: Augment, way: int, size: int
) -> Iterator[tuple[Tensor, ...]]:
    """For all samples moved in one way, ``size`` at a time."""
    for start in range(0, len(inputs[0]), size):
        chunk = [array[start : start + size] for array in inputs]
        with running_on(chunk[0].device):
            inputs_moved = moved(chunk, Moves.alike(len(chunk[0]), augment, way))
        yield from run(network, inputs_moved, size)
