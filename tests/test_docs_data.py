"""What docs/data.md shows is accepted, for the model that it describes."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tieshare.data import Splits, fit, read_npz
from tieshare.recipe import Recipe

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
Axes = tuple[int | str, ...]


def blocks() -> dict[str, str]:
    """The code of each section by the name of the file that it writes; "" has what all share."""
    found = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return {"".join(re.findall(r'savez\("(\w+)\.npz"', code)): code for code in found}


BLOCKS = blocks()


def card(
    inputs: Mapping[str, Axes], outputs: Mapping[str, Axes], integers: tuple[str, ...] = ()
) -> dict[str, Any]:
    def specs(named: Mapping[str, Axes]) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "dtype": "int64" if name in integers else "float32",
                "shape": ["batch", *axes],
            }
            for name, axes in named.items()
        ]

    return {"inputs": specs(inputs), "outputs": specs(outputs)}


IDS: Axes = ("length",)
MODELS = {
    "classes": card({"pixels": (1, 28, 28)}, {"out": (10,)}),
    "numbers": card({"table": (12,)}, {"out": (2,)}),
    "labels": card({"table": (12,)}, {"out": (5,)}),
    "inputs": card({"left": (3, 32, 32), "right": (3, 32, 32)}, {"out": (1,)}),
    "tokens": {
        **card(
            {"input_ids": IDS, "attention_mask": IDS},
            {"out": (4,)},
            ("input_ids", "attention_mask"),
        ),
        "tables": {"input_ids": 5000},
    },
    "outputs": card({"image": (3, 32, 32)}, {"kind": (20,), "box": (4,)}),
    "pixels": card({"image": (3, "height", "width")}, {"out": (20, "height", "width")}),
    "steps": card({"input_ids": IDS}, {"out": ("length", 5000)}, ("input_ids",)),
    "splits": card({"table": (12,)}, {"out": (3,)}),
}


@pytest.fixture
def fitted(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Splits:
    """The data set of one section, made as the page has it."""
    monkeypatch.chdir(tmp_path)
    exec(BLOCKS[""] + BLOCKS[request.param], {})  # noqa: S102 - the page's own code
    task: Any = "multilabel" if request.param == "labels" else "auto"
    dataset = read_npz(tmp_path / f"{request.param}.npz")
    return fit(dataset, MODELS[request.param], Recipe(task=task))


def test_every_block_of_the_page_is_run_by_a_test() -> None:
    assert set(BLOCKS) == {"", *MODELS}


@pytest.mark.parametrize(
    ("fitted", "tasks"),
    [
        ("classes", ["classes"]),
        ("numbers", ["regression"]),
        ("labels", ["multilabel"]),
        ("inputs", ["classes"]),
        ("tokens", ["classes"]),
        ("outputs", ["classes", "regression"]),
        ("pixels", ["classes"]),
        ("steps", ["classes"]),
        ("splits", ["classes"]),
    ],
    indirect=["fitted"],
)
def test_the_data_means_what_the_page_says(fitted: Splits, tasks: list[str]) -> None:
    assert [goal.task for goal in fitted.goals] == tasks


@pytest.mark.parametrize("fitted", ["classes"], indirect=True)
def test_images_are_scaled_and_reshaped(fitted: Splits) -> None:
    (images,) = fitted.train.inputs
    assert images.shape == (800, 1, 28, 28)
    assert (images.min(), images.max()) == (0, 1)


@pytest.mark.parametrize(
    ("fitted", "axis", "shape"),
    [("pixels", 1, (32, 32)), ("steps", 2, (64,))],
    indirect=["fitted"],
)
def test_places_without_a_label_are_known(
    fitted: Splits, axis: int, shape: tuple[int, ...]
) -> None:
    assert fitted.goals[0].axis == axis
    assert fitted.train.targets[0].shape == (800, *shape)
    assert -100 in fitted.train.targets[0]


@pytest.mark.parametrize("fitted", ["splits"], indirect=True)
def test_splits_are_those_that_were_given(fitted: Splits) -> None:
    assert [len(part) for part in (fitted.train, fitted.held_out, fitted.test)] == [700, 100, 200]


@pytest.mark.parametrize("fitted", ["outputs"], indirect=True)
def test_numbers_beside_labels_are_counted_in_their_variance(fitted: Splits) -> None:
    assert fitted.goals[1].unit == pytest.approx(np.var(fitted.train.targets[1]), rel=1e-5)
