from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tieshare.data import Samples, Splits
from tieshare.objective import Objective
from tieshare.trainer import Loaded, Trainer, descend, load, run


def line(n: int, batch: int) -> Trainer:
    """y = 2 x without noise, n samples to train on and n held out."""
    x = torch.linspace(-1, 1, n).reshape(n, 1)
    data = Loaded((x,), 2 * x, 2 * x)
    return Trainer(data, data, Objective("regression", 0.0, 1.0), batch)


class Slope(nn.Module):
    """w x, the weight beside a buffer that every call in training changes."""

    def __init__(self, w: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([w]))
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.get_buffer("calls").add_(1)
        return self.w * x


def listed(trainer: Trainer, seed: int, epoch: int) -> list[list[int]]:
    return [index.tolist() for index in trainer.batches(seed, epoch)]


def test_the_same_seed_and_epoch_give_the_same_batches() -> None:
    assert listed(line(50, 8), 3, 7) == listed(line(50, 8), 3, 7)


@pytest.mark.parametrize("other", [(3, 8), (4, 7), (7, 3)])
def test_another_seed_or_epoch_gives_others(other: tuple[int, int]) -> None:
    assert listed(line(50, 8), 3, 7) != listed(line(50, 8), *other)


@pytest.mark.parametrize(
    ("n", "batch", "sizes"), [(50, 8, [8] * 6), (48, 8, [8] * 6), (5, 8, [5]), (7, 1, [1] * 7)]
)
def test_every_sample_comes_at_most_once_an_epoch_in_whole_batches(
    n: int, batch: int, sizes: list[int]
) -> None:
    trainer = line(n, batch)
    batches = listed(trainer, 0, 0)
    assert [len(index) for index in batches] == sizes
    assert trainer.steps == len(sizes)
    flat = [sample for index in batches for sample in index]
    assert len(set(flat)) == len(flat)
    assert set(flat) <= set(range(n))


def test_over_the_epochs_every_sample_comes() -> None:
    trainer = line(9, 8)
    seen = {
        sample for epoch in range(20) for index in listed(trainer, 0, epoch) for sample in index
    }
    assert seen == set(range(9))


def test_dropout_draws_the_same_in_the_same_epoch() -> None:
    trainer, dropout = line(50, 8), nn.Dropout(0.5)

    def drawn(epoch: int) -> list[list[float]]:
        return [dropout(torch.ones(6)).tolist() for _ in trainer.batches(seed=1, epoch=epoch)]

    first = drawn(epoch=2)
    torch.rand(5)
    assert drawn(epoch=2) == first
    assert drawn(epoch=3) != first


def test_the_loss_of_a_batch_is_that_of_its_samples_alone() -> None:
    trainer = line(5, 2)  # x = -1, -0.5, 0, 0.5, 1
    loss = trainer.loss(Slope(1.0), torch.tensor([0, 3]))
    assert loss.item() == pytest.approx((1.0 + 0.25) / 2)


def test_the_score_is_of_every_held_out_sample_in_evaluation_mode() -> None:
    trainer, network = line(1_300, 8), Slope(1.0)  # more than two batches of evaluation
    right = trainer.right(network.train())
    assert right.shape == (1_300,)
    assert right.tolist() == pytest.approx((-(np.linspace(-1, 1, 1_300) ** 2)).tolist(), abs=1e-6)
    assert network.get_buffer("calls").item() == 0


def test_a_score_has_the_name_that_people_know() -> None:
    assert line(5, 2).named(-0.25) == {"loss": 0.25}
    classes = Trainer(line(5, 2).train, line(5, 2).held_out, Objective("classes", 0.0, 1.0), 2)
    assert classes.named(0.75) == {"accuracy": 0.75}


def test_the_teacher_is_asked_about_both_splits_and_left_as_it_is() -> None:
    x = np.arange(6, dtype=np.float32).reshape(6, 1)
    train, held_out = (Samples((part,), part) for part in (x[:4], x[4:]))
    teacher = Slope(3.0)
    splits = Splits(train, held_out, held_out, "regression", None)
    trainer = Trainer.of(teacher, splits, Objective("regression", 0.5, 1.0), batch=4)
    assert trainer.train.teacher.tolist() == [[0.0], [3.0], [6.0], [9.0]]
    assert trainer.held_out.teacher.tolist() == [[12.0], [15.0]]
    assert teacher.w.grad is None
    assert teacher.w.item() == 3.0


def test_samples_become_tensors_without_a_copy() -> None:
    x = np.arange(6, dtype=np.float32).reshape(6, 1)
    loaded = load(Slope(), Samples((x,), x))
    assert np.shares_memory(loaded.inputs[0].numpy(), x)
    assert len(loaded) == 6


def test_running_takes_no_gradient() -> None:
    assert not run(Slope(2.0), [torch.ones(3, 1)]).requires_grad


def test_a_step_goes_against_the_gradient_of_its_own_loss_alone() -> None:
    network = Slope(1.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for expected in (0.8, 0.64):  # w <- w - 0.1 * 2 w
        descend(optimizer, network.w.square().sum())
        assert network.w.item() == pytest.approx(expected)


def rate_of(
    trainer: Trainer, network: nn.Module, rates: Sequence[float]
) -> tuple[float, list[float]]:
    tried: list[float] = []

    def start(rate: float) -> torch.optim.Optimizer:
        tried.append(rate)
        return torch.optim.SGD(network.parameters(), lr=rate)

    return trainer.largest_stable_rate(network, rates, start), tried


def test_a_rate_at_which_training_diverges_is_rejected() -> None:
    # The curvature is 2 mean(x^2) = 0.68: SGD diverges from a rate of 2 / 0.68 = 2.9 on.
    rate, tried = rate_of(line(50, 50), Slope(1.5), (1e30, 100.0, 5.0, 1.0, 0.1))
    assert rate == 1.0
    assert tried == [1e30, 100.0, 5.0, 1.0]


def test_the_last_rate_is_taken_unseen() -> None:
    rate, tried = rate_of(line(50, 50), Slope(1.5), (100.0, 50.0))
    assert (rate, tried) == (50.0, [100.0])


def test_the_trial_is_taken_back_bit_for_bit() -> None:
    network = Slope(1.5)
    before = {name: value.numpy().tobytes() for name, value in network.state_dict().items()}
    rate_of(line(50, 8), network, (100.0, 1.0, 0.1))
    after = {name: value.numpy().tobytes() for name, value in network.state_dict().items()}
    assert after == before


@pytest.mark.parametrize("n", [2, 50, 500])
def test_a_trial_has_sixty_steps_however_long_an_epoch_is(n: int) -> None:
    network, steps = Slope(1.5), []
    network.register_forward_pre_hook(lambda module, _: steps.append(module.training))
    rate_of(line(n, 2), network, (0.1, 0.01))
    assert sum(steps) == 60
