import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tieshare.measure import Task
from tieshare.objective import Objective

LABELS: list[tuple[Task, tuple[int, ...], str]] = [
    ("classes", (40, 5), "classes"),
    ("classes", (40, 5, 3), "classes of three places"),
    ("classes", (40, 1), "two classes, one unit"),
    ("classes", (40,), "two classes, a bare unit"),
    ("multilabel", (40, 6), "labels"),
    ("multilabel", (40,), "one label"),
    ("regression", (40, 2), "two numbers"),
    ("regression", (40, 3, 2), "numbers in a grid"),
    ("regression", (40,), "a bare number"),
]
every_form = pytest.mark.parametrize(
    ("task", "shape"), [form[:2] for form in LABELS], ids=[form[2] for form in LABELS]
)


def drawn(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def targets(task: Task, shape: tuple[int, ...]) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    if task == "regression":
        return drawn(shape, seed=1)
    if task == "multilabel":
        return torch.randint(0, 2, shape, generator=rng).float()
    if shape[1:].count(1) or len(shape) == 1:
        return torch.randint(0, 2, shape[:1], generator=rng)
    return torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=rng)


def gradient(objective: Objective, output: Tensor, target: Tensor, teacher: Tensor) -> Tensor:
    leaf = output.clone().requires_grad_()
    torch.autograd.backward(objective.loss(leaf, target, teacher))
    assert leaf.grad is not None
    return leaf.grad


@every_form
def test_without_distillation_the_loss_is_torchs(task: Task, shape: tuple[int, ...]) -> None:
    output, target = drawn(shape), targets(task, shape)
    loss = Objective(task, 0.0, 4.0).loss(output, target, teacher=drawn(shape, seed=2))
    if task == "regression":
        expected = F.mse_loss(output, target)
    elif output.numel() == target.numel():
        expected = F.binary_cross_entropy_with_logits(output.reshape(-1), target.reshape(-1) * 1.0)
    else:
        expected = F.cross_entropy(output, target)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)


@every_form
def test_a_student_that_is_the_teacher_has_nothing_to_learn_from_it(
    task: Task, shape: tuple[int, ...]
) -> None:
    output, target = drawn(shape), targets(task, shape)
    objective = Objective(task, 1.0, 4.0)
    assert objective.loss(output, target, output.clone()).item() == pytest.approx(0, abs=1e-6)
    assert gradient(objective, output, target, output).abs().max() < 1e-7


@every_form
def test_any_other_student_loses_by_the_teacher(task: Task, shape: tuple[int, ...]) -> None:
    output, target = drawn(shape), targets(task, shape)
    objective = Objective(task, 1.0, 4.0)
    assert objective.loss(output, target, output + drawn(shape, seed=3)).item() > 1e-3


@every_form
def test_between_the_two_the_loss_is_their_weighted_mean(
    task: Task, shape: tuple[int, ...]
) -> None:
    output, target, teacher = drawn(shape), targets(task, shape), drawn(shape, seed=2)
    labels, distilled, mixed = (
        Objective(task, weight, 3.0).loss(output, target, teacher).item()
        for weight in (0.0, 1.0, 0.7)
    )
    assert mixed == pytest.approx(0.3 * labels + 0.7 * distilled, rel=1e-5)


def test_the_distilled_loss_is_the_divergence_of_softened_outputs() -> None:
    output, teacher, T = drawn((40, 5)), drawn((40, 5), seed=2), 3.0
    p, q = torch.softmax(teacher / T, 1), torch.softmax(output / T, 1)
    divergence = (p * (p / q).log()).sum(1).mean()
    loss = Objective("classes", 1.0, T).loss(output, targets("classes", (40, 5)), teacher)
    assert loss.item() == pytest.approx(T**2 * divergence.item(), rel=1e-5)


def test_one_unit_is_distilled_as_the_two_classes_that_it_stands_for() -> None:
    """A sigmoid of z is a softmax over (0, z)."""
    z, teacher = drawn((40, 1)), drawn((40, 1), seed=2)
    target = targets("classes", (40, 1))
    zeros = torch.zeros_like(z)
    for weight in (0.0, 0.9, 1.0):
        objective = Objective("classes", weight, 4.0)
        one = objective.loss(z, target, teacher)
        two = objective.loss(torch.cat([zeros, z], 1), target, torch.cat([zeros, teacher], 1))
        assert one.item() == pytest.approx(two.item(), rel=1e-5)


@pytest.mark.parametrize(("task", "shape"), [("classes", (40, 5)), ("multilabel", (40, 6))])
def test_the_temperature_leaves_the_size_of_the_gradient(
    task: Task, shape: tuple[int, ...]
) -> None:
    """For T -> infinity the gradient goes to a limit, as section 2.1 of 1503.02531 shows.

    Without the factor T^2 it would fall by 10,000 from T = 10 to T = 1000.
    """
    output, target, teacher = drawn(shape), targets(task, shape), drawn(shape, seed=2)
    sizes = [
        gradient(Objective(task, 1.0, T), output.double(), target, teacher.double()).norm().item()
        for T in (10.0, 1000.0)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


@every_form
def test_the_score_of_a_sample_is_its_share_of_right_answers_or_minus_its_error(
    task: Task, shape: tuple[int, ...]
) -> None:
    output, target = drawn(shape), targets(task, shape)
    right = Objective(task, 0.9, 4.0).right(output, target)
    assert right.shape == (40,)
    if task == "regression":
        assert -right.mean().item() == pytest.approx(F.mse_loss(output, target).item(), rel=1e-5)
        return
    if output.numel() == target.numel():
        same = (output > 0).reshape(target.shape) == target
    else:
        same = output.argmax(1) == target
    assert right.mean().item() == pytest.approx(same.double().mean().item(), abs=1e-12)


def test_a_logit_of_zero_says_no() -> None:
    assert Objective("classes", 0.0, 1.0).right(
        torch.zeros(2, 1), torch.tensor([0, 1])
    ).tolist() == [
        1.0,
        0.0,
    ]
