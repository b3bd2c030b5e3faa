from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tieshare import teacher as teacher_module
from tieshare.augment import Moves, moved
from tieshare.checkpoint import Checkpoints
from tieshare.data import Goal
from tieshare.objective import Objective
from tieshare.recipe import Augment
from tieshare.teacher import taught_by
from tieshare.trainer import Loaded, Teacher, Trainer

NUMBERS = Goal("y", "regression", None, None)


class Brightest(nn.Module):
    """Where the brightest pixel of each image is; counts what it was asked."""

    asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        return x.flatten(1).argmax(1, keepdim=True).float()


def spots(count: int) -> Loaded:
    """Images with one bright pixel, in one of the inner nine places."""
    x = torch.zeros(count, 1, 5, 5)
    for index in range(count):
        x[index, 0, 1 + index % 3, 1 + index // 3 % 3] = 1
    return Loaded((x,), (torch.full((count, 1), 12.0),))


def asked(teacher: Teacher, data: Loaded, augment: Augment) -> tuple[Tensor, Tensor]:
    """What the teacher answers to a batch, and what there is to answer."""
    index = torch.randint(len(data), (16,))
    moves = Moves.drawn(16, augment)
    (x,) = moved([data.inputs[0][index]], moves)
    (answers,) = teacher(index, moves, [x]) or ()
    return answers, Brightest()(x)


@pytest.mark.parametrize("augment", [Augment(), Augment(shift=1), Augment(shift=1, flip=True)])
@pytest.mark.parametrize("most_kept", [0, 1 << 28])
def test_the_teacher_answers_the_images_as_they_are_trained_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, most_kept: int, augment: Augment
) -> None:
    """Whether its answers are kept or not."""
    monkeypatch.setattr(teacher_module, "_MOST_KEPT", most_kept)
    network, data = Brightest(), spots(40)
    objective, checkpoints = Objective((NUMBERS,), 0.9, 1.0), Checkpoints(tmp_path)
    teacher = taught_by(network, data, objective, augment, 20, checkpoints)
    first = network.asked
    for _ in range(10):
        found, expected = asked(teacher, data, augment)
        assert torch.equal(found, expected)
    assert (network.asked == first) == bool(most_kept)


def test_no_more_is_asked_than_training_would_ask(tmp_path: Path) -> None:
    """Of 25 ways 20 epochs see less than all."""
    network, augment = Brightest(), Augment(shift=2)
    objective = Objective((NUMBERS,), 0.9, 1.0)
    taught_by(network, spots(40), objective, augment, 20, Checkpoints(tmp_path))
    assert network.asked == 0
    taught_by(network, spots(40), objective, augment, 25, Checkpoints(tmp_path))
    assert network.asked == 25 * 40


def test_another_process_of_the_job_asks_nothing_again(tmp_path: Path) -> None:
    network, data, augment = Brightest(), spots(40), Augment(shift=1)
    objective = Objective((NUMBERS,), 0.9, 1.0)
    taught_by(network, data, objective, augment, 20, Checkpoints(tmp_path))
    before = network.asked
    again = taught_by(network, data, objective, augment, 20, Checkpoints(tmp_path))
    found, expected = asked(again, data, augment)
    assert torch.equal(found, expected)
    assert network.asked == before


def test_without_distilling_no_teacher_is_asked(tmp_path: Path) -> None:
    network, objective = Brightest(), Objective((NUMBERS,), 0.0, 1.0)
    data = spots(4)
    teacher = taught_by(network, data, objective, Augment(), 20, Checkpoints(tmp_path))
    index = torch.tensor([0])
    assert teacher(index, Moves.drawn(1, Augment()), data.inputs) is None
    assert network.asked == 0


def test_the_loss_is_in_part_the_distance_from_the_teacher(tmp_path: Path) -> None:
    data, augment = spots(40), Augment(shift=1)
    for distill, nothing in ((1.0, True), (0.5, False), (0.0, False)):
        objective = Objective((NUMBERS,), distill, 1.0)
        folder = Checkpoints(tmp_path / str(distill))
        teacher = taught_by(Brightest(), data, objective, augment, 20, folder)
        trainer = Trainer(data, data, objective, 40, teacher, augment)
        assert (trainer.loss(Brightest(), torch.arange(40)).item() == 0) == nothing
    assert trainer.right(Brightest()).mean() < 0
