"""What a job refuses, and what it then says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

from tieshare.data import Dataset
from tieshare.errors import (
    BadArray,
    DataMismatch,
    NotNpz,
    NotOnnx,
    RecipeError,
    TieshareError,
    UnsupportedModel,
    UnsupportedOperator,
)
from tieshare.pipeline import compress
from tieshare.progress import Progress
from tieshare.recipe import Recipe

Make = Callable[..., ModelProto]
Short = Callable[..., Recipe]


def bad_jobs(mlp: ModelProto, digits: Dataset) -> dict[str, tuple[Any, Any, type, str]]:
    """Name -> (model, data, error, where)."""
    x, y = digits.arrays["x"], digits.arrays["y"]
    hole = x.copy()
    hole[5, 3] = np.nan
    return {
        "narrow": (mlp, {"x": x[:, :63], "y": y}, DataMismatch, "x"),
        "short": (mlp, {"x": x, "y": y[:-1]}, DataMismatch, "x"),
        "labels": (mlp, {"x": x, "y": y + 1}, DataMismatch, "y"),
        "numbers": (mlp, {"x": x, "y": y * 1.0}, DataMismatch, "y"),
        "hole": (mlp, {"x": hole, "y": y}, BadArray, "x"),
        "few": (mlp, {"x": x[:19], "y": y[:19]}, DataMismatch, "y"),
        "noise": (b"not a model", {"x": x, "y": y}, NotOnnx, ""),
    }


@pytest.mark.parametrize("name", ["narrow", "short", "labels", "numbers", "hole", "few", "noise"])
def test_bad_input_is_named_before_any_training(
    mlp: ModelProto, digits: Dataset, tmp_path: Path, name: str, short: Short
) -> None:
    model, arrays, error, where = bad_jobs(mlp, digits)[name]
    heard: list[Progress] = []
    with pytest.raises(TieshareError) as caught:
        compress(model, Dataset(arrays), short(), heard.append, tmp_path)
    assert type(caught.value) is error
    assert caught.value.where == where
    assert heard == []


def test_a_data_file_that_is_none_is_refused(mlp: ModelProto, tmp_path: Path, short: Short) -> None:
    (tmp_path / "data.npz").write_bytes(b"PK but no archive")
    with pytest.raises(NotNpz):
        compress(mlp, tmp_path / "data.npz", short())


def test_an_operator_that_cannot_be_trained_is_named(
    fresh: Make, digits: Dataset, short: Short
) -> None:
    text = "g (float[N, 64] x) => (float[N, 10] y) { h = Gemm (x, w) y = Hardmax (h) }"
    with pytest.raises(UnsupportedOperator, match="Hardmax"):
        compress(fresh(text, w=(64, 10)), digits, short())


def test_a_network_without_layers_has_nothing_to_compress(
    fresh: Make, digits: Dataset, short: Short
) -> None:
    text = "g (float[N, 10] x) => (float[N, 10] y) { y = Mul (x, w) }"
    data = Dataset({"x": digits.arrays["x"][:, :10], "y": digits.arrays["y"]})
    with pytest.raises(UnsupportedModel):
        compress(fresh(text, w=(10,)), data, short())


def test_a_rate_at_which_training_diverges_is_an_error_of_the_recipe(
    mlp: ModelProto, digits: Dataset, short: Short
) -> None:
    with pytest.raises(RecipeError) as caught:
        compress(mlp, digits, short(learning_rate=1e30))
    assert caught.value.where == "learning_rate"
