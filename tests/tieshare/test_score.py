from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from tieshare.data import NO_LABEL, Goal
from tieshare.score import at_once, is_error, named, numbers, right, score

Array = np.ndarray
CLASSES = Goal("y", "classes", 3, 1)
STEPS = Goal("y", "classes", 3, 2)
UNIT = Goal("y", "classes", 2, 1)
LABELS = Goal("y", "multilabel", None, None)
NUMBERS = Goal("y", "regression", None, None)
RNG = np.random.default_rng(0)


def mean(goal: Goal, output: Array, target: Array, threshold: float = 0.5) -> float:
    return float(score([goal], [target], [[output]], [threshold]).mean())


def classes(output: list[object], target: list[object], threshold: float = 0.5) -> float:
    return mean(UNIT, np.array(output), np.array(target), threshold)


def test_of_several_classes_the_largest_output_is_the_answer() -> None:
    assert classes([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]], [1, 0, 0]) == pytest.approx(2 / 3)


def test_a_single_unit_decides_between_two_classes() -> None:
    assert classes([[0.4], [0.6], [0.9], [0.1]], [0, 1, 0, 0]) == 0.75
    assert classes([0.4, 0.6], [0, 0]) == 0.5
    assert classes([[-0.1], [0.1], [0.3], [0.4]], [0, 1, 1, 0], threshold=0) == 0.75


def test_a_logit_of_zero_says_no() -> None:
    assert right(UNIT, np.zeros((2, 1)), np.array([0, 1]), 0).tolist() == [1, 0]


@pytest.mark.parametrize("goal", [CLASSES, STEPS])
def test_classes_of_every_place_lie_along_the_goals_axis(goal: Goal) -> None:
    target = np.arange(8).reshape(2, 4) % 3
    output = np.moveaxis(np.eye(3)[target], -1, goal.axis or 0)
    assert mean(goal, output, target) == 1
    assert mean(goal, output, (target + np.eye(2, 4, dtype=int)) % 3) == 0.75


def test_the_score_of_places_is_the_share_of_labels_that_are_right() -> None:
    """However the labels lie among the samples, one of which has none."""
    target = RNG.integers(0, 3, (6, 10))
    target[0, 3:], target[1, 8:], target[2] = NO_LABEL, NO_LABEL, NO_LABEL
    output = RNG.normal(size=(6, 10, 3))
    labelled = target >= 0
    share = (output.argmax(2) == target)[labelled].mean()
    found = score([STEPS], [target], [[output]], [0.0])
    assert found.mean() == pytest.approx(share, abs=1e-12)
    assert found[2] == 0


def test_a_split_without_any_label_scores_nothing() -> None:
    assert mean(STEPS, RNG.normal(size=(4, 5, 3)), np.full((4, 5), NO_LABEL)) == 0


def test_every_label_of_several_counts() -> None:
    output = np.array([[0.9, 0.2], [0.6, 0.7]])
    target = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert mean(LABELS, output, target) == 0.75
    assert mean(LABELS, output - 0.5, target, threshold=0) == 0.75
    assert right(LABELS, output, target, 0.5).tolist() == [1, 0.5]


def test_numbers_have_minus_the_mean_squared_error() -> None:
    output, target = np.array([[1.0], [3.0]]), np.array([2.0, 1.0])
    assert score([NUMBERS], [target], [[output]], [0.0]).tolist() == [-1, -4]
    in_unit = Goal("y", "regression", None, None, unit=5.0)
    assert mean(in_unit, output, target) == -0.5


def softmax(logits: Array, axis: int) -> Array:
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=axis, keepdims=True)
    return probabilities


@pytest.mark.parametrize(
    ("goal", "shape", "end"),
    [
        (CLASSES, (50, 3), "softmax"),
        (CLASSES, (50, 3, 4, 5), "softmax"),
        (STEPS, (50, 7, 3), "softmax"),
        (UNIT, (50, 1), "sigmoid"),
        (UNIT, (50, 1, 4, 5), "sigmoid"),
        (UNIT, (50, 1), "pair"),
        (LABELS, (50, 6), "sigmoid"),
    ],
)
def test_logits_in_training_and_probabilities_of_a_file_score_alike(
    goal: Goal, shape: tuple[int, ...], end: str
) -> None:
    logits = RNG.normal(size=shape)
    places = [length for axis, length in enumerate(shape) if axis != goal.axis]
    target: Array = RNG.integers(-1 if len(places) > 1 else 0, goal.classes or 2, places)
    if goal.task == "multilabel":
        target = (target > 0).astype(np.float32)
    output = softmax(logits, goal.axis or 0) if end == "softmax" else 1 / (1 + np.exp(-logits))
    if end == "pair":
        output = np.concatenate([1 - output, output], axis=1)
    training = score([goal], [target], [[logits]], [0.0])
    assert training.tolist() == score([goal], [target], [[output]], [0.5]).tolist()
    assert 0.1 < training.mean() < 0.9


KIND, SIZE = CLASSES, Goal("z", "regression", None, None, unit=4.0)


def answers(goals: Sequence[Goal]) -> tuple[list[Array], list[Array]]:
    """Outputs and targets of 20 samples."""
    shapes = [(20, 3) if goal.task == "classes" else (20, 2) for goal in goals]
    outputs: list[Array] = [RNG.normal(size=shape) for shape in shapes]
    targets = [
        RNG.integers(0, 3, 20) if goal.task == "classes" else RNG.normal(size=(20, 2))
        for goal in goals
    ]
    return outputs, targets


def test_several_accuracies_are_averaged() -> None:
    outputs, targets = answers([KIND, KIND])
    each = [mean(KIND, *pair) for pair in zip(outputs, targets, strict=True)]
    found = score([KIND, KIND], targets, [outputs], [0.0, 0.0])
    assert found.mean() == pytest.approx(np.mean(each))
    assert named([KIND, KIND], 0.25) == {"accuracy": 0.25}


def test_several_errors_are_averaged_in_their_units() -> None:
    outputs, targets = answers([SIZE, SIZE])
    each = [-((o - t) ** 2).mean() / 4 for o, t in zip(outputs, targets, strict=True)]
    found = score([SIZE, SIZE], targets, [outputs], [0.0, 0.0])
    assert found.mean() == pytest.approx(np.mean(each))
    assert is_error([SIZE, SIZE])
    assert named([SIZE, SIZE], -0.25) == {"loss": 0.25}


def test_among_labels_numbers_count_by_the_part_of_the_variance_that_is_explained() -> None:
    outputs, targets = answers([KIND, SIZE])
    explained = 1 - ((outputs[1] - targets[1]) ** 2).mean() / 4
    found = score([KIND, SIZE], targets, [outputs], [0.0, 0.0])
    assert found.mean() == pytest.approx((mean(KIND, outputs[0], targets[0]) + explained) / 2)
    assert not is_error([KIND, SIZE])
    assert named([KIND, SIZE], 0.25) == {"accuracy": 0.25}
    perfect = [np.eye(3)[targets[0]], targets[1]]
    assert score([KIND, SIZE], targets, [perfect], [0.0, 0.0]).tolist() == [1.0] * 20


@pytest.mark.parametrize("size", [1, 7, 20])
def test_answers_that_come_in_chunks_score_the_same(size: int) -> None:
    goals = [KIND, SIZE, STEPS]
    outputs, targets = answers(goals[:2])
    outputs.append(RNG.normal(size=(20, 4, 3)))
    targets.append(RNG.integers(-1, 3, (20, 4)))

    def chunks() -> Iterator[list[Array]]:
        for start in range(0, 20, size):
            yield [output[start : start + size] for output in outputs]

    whole = score(goals, targets, [outputs], [0.0] * 3)
    assert score(goals, targets, chunks(), [0.0] * 3) == pytest.approx(whole, abs=1e-12)


def test_as_many_samples_at_once_as_their_outputs_leave_room_for() -> None:
    small, picture = [np.zeros(20)], [np.zeros((20, 64, 64), dtype=np.int64)]
    words = Goal("y", "classes", 50_000, 2)
    assert (numbers([CLASSES], small), at_once([CLASSES], small)) == (3, 512)
    assert numbers([CLASSES, NUMBERS], [*picture, np.zeros((20, 7))]) == 3 * 64 * 64 + 7
    assert at_once([words], [np.zeros((20, 128), dtype=np.int64)]) == 5
    assert at_once([words], picture) == 1
