import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from tieshare.data import NO_LABEL, Goal, Task
from tieshare.objective import Objective

CLASSES = Goal("y", "classes", 5, 1)
STEPS = Goal("y", "classes", 5, 2)
TWO_CLASSES = Goal("y", "classes", 2, 1)
BARE = Goal("y", "classes", 2, None)
LABELS = Goal("y", "multilabel", None, None)
NUMBERS = Goal("y", "regression", None, None)
FORMS: list[tuple[Goal, tuple[int, ...], str]] = [
    (CLASSES, (40, 5), "classes"),
    (CLASSES, (40, 5, 3), "classes of three places"),
    (CLASSES, (40, 5, 3, 2), "classes of pixels"),
    (STEPS, (40, 3, 5), "classes of three steps"),
    (TWO_CLASSES, (40, 1), "two classes, one unit"),
    (TWO_CLASSES, (40, 1, 3), "two classes, one unit a place"),
    (BARE, (40,), "two classes, a bare unit"),
    (LABELS, (40, 6), "labels"),
    (LABELS, (40,), "one label"),
    (NUMBERS, (40, 2), "two numbers"),
    (NUMBERS, (40, 3, 2), "numbers in a grid"),
    (NUMBERS, (40,), "a bare number"),
]
every_form = pytest.mark.parametrize(
    ("goal", "shape"), [form[:2] for form in FORMS], ids=[form[2] for form in FORMS]
)


def drawn(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def targets(goal: Goal, shape: tuple[int, ...]) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    if goal.task == "regression":
        return drawn(shape, seed=1)
    if goal.task == "multilabel":
        return torch.randint(0, 2, shape, generator=rng).float()
    places = [length for axis, length in enumerate(shape) if axis != goal.axis]
    return torch.randint(0, goal.classes or 0, places, generator=rng)


def loss(
    goal: Goal, weight: float, T: float, output: Tensor, target: Tensor, teacher: Tensor
) -> Tensor:
    return Objective((goal,), weight, T).loss([output], [target], [teacher])


def gradient(
    goal: Goal, weight: float, T: float, output: Tensor, target: Tensor, teacher: Tensor
) -> Tensor:
    leaf = output.clone().requires_grad_()
    torch.autograd.backward(loss(goal, weight, T, leaf, target, teacher))
    assert leaf.grad is not None
    return leaf.grad


@every_form
def test_without_distillation_the_loss_is_torchs(goal: Goal, shape: tuple[int, ...]) -> None:
    output, target = drawn(shape), targets(goal, shape)
    found = Objective((goal,), 0.0, 4.0).loss([output], [target], None)
    if goal.task == "regression":
        expected = F.mse_loss(output, target)
    elif output.numel() == target.numel():
        expected = F.binary_cross_entropy_with_logits(output.reshape(-1), target.reshape(-1) * 1.0)
    else:
        expected = F.cross_entropy(output.movedim(goal.axis or 0, 1), target)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


@every_form
def test_a_student_that_is_the_teacher_has_nothing_to_learn_from_it(
    goal: Goal, shape: tuple[int, ...]
) -> None:
    output, target = drawn(shape), targets(goal, shape)
    found = loss(goal, 1.0, 4.0, output, target, output.clone())
    assert found.item() == pytest.approx(0, abs=1e-6)
    assert gradient(goal, 1.0, 4.0, output, target, output).abs().max() < 1e-7


@every_form
def test_any_other_student_loses_by_the_teacher(goal: Goal, shape: tuple[int, ...]) -> None:
    output, target = drawn(shape), targets(goal, shape)
    assert loss(goal, 1.0, 4.0, output, target, output + drawn(shape, seed=3)).item() > 1e-3


@every_form
def test_between_the_two_the_loss_is_their_weighted_mean(
    goal: Goal, shape: tuple[int, ...]
) -> None:
    output, target, teacher = drawn(shape), targets(goal, shape), drawn(shape, seed=2)
    labels, distilled, mixed = (
        loss(goal, weight, 3.0, output, target, teacher).item() for weight in (0.0, 1.0, 0.7)
    )
    assert mixed == pytest.approx(0.3 * labels + 0.7 * distilled, rel=1e-5)


@pytest.mark.parametrize(("goal", "shape"), [(CLASSES, (40, 5)), (STEPS, (40, 3, 5))])
def test_the_distilled_loss_is_the_divergence_of_softened_outputs(
    goal: Goal, shape: tuple[int, ...]
) -> None:
    output, teacher, T = drawn(shape), drawn(shape, seed=2), 3.0
    p, q = torch.softmax(teacher / T, -1), torch.softmax(output / T, -1)
    divergence = (p * (p / q).log()).sum(-1).mean()
    found = loss(goal, 1.0, T, output, targets(goal, shape), teacher)
    assert found.item() == pytest.approx(T**2 * divergence.item(), rel=1e-5)


def test_one_unit_is_distilled_as_the_two_classes_that_it_stands_for() -> None:
    """A sigmoid of z is a softmax over (0, z)."""
    z, teacher = drawn((40, 1)), drawn((40, 1), seed=2)
    target = targets(TWO_CLASSES, (40, 1))
    zeros = torch.zeros_like(z)
    two, taught = torch.cat([zeros, z], 1), torch.cat([zeros, teacher], 1)
    for weight in (0.0, 0.9, 1.0):
        one = loss(TWO_CLASSES, weight, 4.0, z, target, teacher)
        both = loss(TWO_CLASSES, weight, 4.0, two, target, taught)
        assert one.item() == pytest.approx(both.item(), rel=1e-5)


@pytest.mark.parametrize(("goal", "shape"), [(CLASSES, (40, 5)), (LABELS, (40, 6))])
def test_the_temperature_leaves_the_size_of_the_gradient(
    goal: Goal, shape: tuple[int, ...]
) -> None:
    """For T -> infinity the gradient goes to a limit, as section 2.1 of 1503.02531 shows.

    Without the factor T^2 it would fall by 10,000 from T = 10 to T = 1000.
    """
    output, target, teacher = drawn(shape), targets(goal, shape), drawn(shape, seed=2)
    sizes = [
        gradient(goal, 1.0, T, output.double(), target, teacher.double()).norm().item()
        for T in (10.0, 1000.0)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)


@pytest.mark.parametrize("weight", [0.0, 0.9, 1.0])
@pytest.mark.parametrize(
    ("goal", "shape"), [(CLASSES, (40, 5, 6)), (STEPS, (40, 6, 5)), (TWO_CLASSES, (40, 1, 6))]
)
def test_a_place_without_a_label_counts_nowhere(
    goal: Goal, shape: tuple[int, ...], weight: float
) -> None:
    """The loss is that of the labelled places alone, and only these get a gradient."""
    output, teacher, target = drawn(shape), drawn(shape, seed=2), targets(goal, shape)
    target[:, 4:] = NO_LABEL
    places = 2 if goal.axis == 1 else 1
    kept = torch.arange(4)
    expected = loss(
        goal,
        weight,
        4.0,
        output.index_select(places, kept),
        target[:, :4],
        teacher.index_select(places, kept),
    )
    assert loss(goal, weight, 4.0, output, target, teacher).item() == pytest.approx(
        expected.item(), rel=1e-6
    )
    found = gradient(goal, weight, 4.0, output, target, teacher).movedim(places, 0)
    assert found[4:].abs().max() == 0
    assert found[:4].abs().max() > 0


@pytest.mark.parametrize("weight", [0.0, 0.9, 1.0])
def test_a_batch_without_any_label_has_no_loss(weight: float) -> None:
    output, target = drawn((40, 6, 5)), torch.full((40, 6), NO_LABEL)
    assert loss(STEPS, weight, 4.0, output, target, drawn((40, 6, 5), seed=2)).item() == 0
    assert gradient(STEPS, weight, 4.0, output, target, output).abs().max() == 0


@pytest.mark.parametrize("weight", [0.0, 0.9, 1.0])
def test_the_loss_of_several_goals_is_the_mean_of_theirs(weight: float) -> None:
    goals = (CLASSES, NUMBERS, LABELS)
    shapes = ((40, 5), (40, 2), (40, 6))
    outputs = [drawn(shape) for shape in shapes]
    wanted = [targets(goal, shape) for goal, shape in zip(goals, shapes, strict=True)]
    taught = [drawn(shape, seed=2) for shape in shapes]
    each = [
        loss(*given).item()
        for given in zip(goals, [weight] * 3, [4.0] * 3, outputs, wanted, taught, strict=True)
    ]
    found = Objective(goals, weight, 4.0).loss(outputs, wanted, taught)
    assert found.item() == pytest.approx(math.fsum(each) / 3, rel=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.9, 1.0])
def test_squared_errors_are_counted_in_the_goals_unit(weight: float) -> None:
    task: Task = "regression"
    given = drawn((40, 2)), drawn((40, 2), seed=1), drawn((40, 2), seed=2)
    plain = loss(NUMBERS, weight, 4.0, *given)
    found = loss(Goal("y", task, None, None, unit=8.0), weight, 4.0, *given)
    assert found.item() == pytest.approx(plain.item() / 8, rel=1e-6)
