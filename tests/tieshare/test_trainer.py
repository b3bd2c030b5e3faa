from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tieshare.data import Goal, Samples
from tieshare.objective import Objective
from tieshare.trainer import Loaded, Trainer, Trial, load, run, together

NUMBERS = Goal("y", "regression", None, None)


def line(n: int, batch: int) -> Trainer:
    """y = 2 x without noise, n samples to train on and n held out."""
    x = torch.linspace(-1, 1, n).reshape(n, 1)
    data = Loaded((x,), (2 * x,))
    return Trainer(data, data, Objective((NUMBERS,), 0.0, 1.0), batch, lambda *_: None)


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
    assert trainer.right(network, 1_000).tolist() == right[:1_000].tolist()


def test_a_score_has_the_name_that_people_know() -> None:
    assert line(5, 2).named(-0.25) == {"loss": 0.25}
    trainer = line(5, 2)
    trainer.objective = Objective((Goal("y", "classes", 2, 1),), 0.0, 1.0)
    assert trainer.named(0.75) == {"accuracy": 0.75}


def test_samples_are_loaded_without_a_copy() -> None:
    x = np.arange(6, dtype=np.float32).reshape(6, 1)
    loaded = load(Samples((x,), (x,)))
    assert np.shares_memory(loaded.inputs[0].numpy(), x)
    assert np.shares_memory(loaded.targets[0].numpy(), x)
    assert len(loaded) == 6


class Both(nn.Module):
    """Two outputs."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return 2 * x, -x


def test_every_output_is_trained_and_scored_against_its_own_target() -> None:
    x = torch.linspace(-1, 1, 50).reshape(50, 1)
    data = Loaded((x,), (x, x))
    goals = (Goal("a", "regression", None, None), Goal("b", "regression", None, None, unit=2.0))
    trainer = Trainer(data, data, Objective(goals, 0.0, 1.0), 50, lambda *_: None)
    square = (x**2).mean().item()
    expected = (square + 4 * square / 2) / 2  # errors of x and -2 x
    assert trainer.loss(Both(), torch.arange(50)).item() == pytest.approx(expected)
    assert trainer.right(Both()).mean() == pytest.approx(-expected)


def test_all_samples_are_answered_some_at_a_time() -> None:
    x = torch.arange(7.0).reshape(7, 1)
    chunks = list(run(Both(), [x], 3))
    assert [len(first) for first, _ in chunks] == [3, 3, 1]
    assert [output.flatten().tolist() for output in together(iter(chunks))] == [
        [0.0, 2, 4, 6, 8, 10, 12],
        [0.0, -1, -2, -3, -4, -5, -6],
    ]


def test_running_takes_no_gradient() -> None:
    ((answer,),) = run(Slope(2.0), [torch.ones(3, 1)], 3)
    assert not answer.requires_grad


def test_a_step_goes_against_the_gradient_of_its_own_loss_alone() -> None:
    trainer, network = line(50, 50), Slope(1.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    curvature = 2 * float(trainer.train.inputs[0].square().mean())
    expected = 1.0
    for _ in range(2):
        trainer.step(network, optimizer, torch.arange(50))
        expected -= 0.1 * curvature * (expected - 2)
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


def test_a_trial_has_the_steps_that_it_says_and_loses_what_it_may() -> None:
    trainer, network, steps = line(50, 50), Slope(1.5), []
    network.register_forward_pre_hook(lambda module, _: steps.append(module.training))

    def start(rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(network.parameters(), lr=rate)

    def found(trial: Trial, first: float = 3.0) -> float:
        steps.clear()
        return trainer.largest_stable_rate(network, (first, 0.1), start, trial)

    assert found(Trial(steps=7, lost=0.03)) == 0.1
    assert sum(steps) == 7
    # By a quarter of the steps it has lost more than eight times as much as it may in the end.
    assert found(Trial(steps=28, lost=0.03), first=5.0) == 0.1
    assert sum(steps) == 7
    # The error grows by the square of |1 - 0.68 * 3| in each of two steps: not a thousandfold.
    assert found(Trial(steps=2, lost=100.0)) == 3.0
