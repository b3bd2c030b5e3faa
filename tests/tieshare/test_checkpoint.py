import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch

from tieshare.checkpoint import Checkpoints


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "a" / "b")


def files(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_what_was_never_saved_is_nothing(checkpoints: Checkpoints) -> None:
    assert checkpoints.load("path") is None
    assert checkpoints.load_arrays("epoch-1") is None


def test_a_state_comes_back_bit_for_bit_and_the_last_one_counts(checkpoints: Checkpoints) -> None:
    weights = torch.randn(7, 3)
    checkpoints.save("path", {"done": 1})
    checkpoints.save("path", {"twin": {"w": weights}, "done": 2, "kept": [{"score": 0.1}]})
    state = checkpoints.load("path")
    assert state is not None
    assert state["twin"]["w"].numpy().tobytes() == weights.numpy().tobytes()
    assert (state["done"], state["kept"]) == (2, [{"score": 0.1}])
    assert files(checkpoints) == ["path.pt"]


def test_the_state_of_an_optimiser_comes_back(checkpoints: Checkpoints) -> None:
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.1)
    torch.autograd.backward(weight.square().sum())
    optimizer.step()
    checkpoints.save("path", optimizer.state_dict())
    state = checkpoints.load("path")
    assert state is not None
    assert state["state"][0]["exp_avg"].tolist() == optimizer.state[weight]["exp_avg"].tolist()
    assert state["param_groups"][0]["lr"] == 0.1


def test_a_later_folder_of_the_same_name_finds_what_was_saved(checkpoints: Checkpoints) -> None:
    checkpoints.save("path", {"done": 3})
    assert Checkpoints(checkpoints.folder).load("path") == {"done": 3}


def test_a_dropped_state_is_gone_and_may_be_dropped_again(checkpoints: Checkpoints) -> None:
    checkpoints.save("point", {"done": 3})
    checkpoints.drop("point")
    checkpoints.drop("point")
    assert checkpoints.load("point") is None


class Killed(Exception):
    """The process ended here."""


class Deadly:
    """Pickling it half way through a state ends the process."""

    def __reduce__(self) -> str:
        raise Killed


def test_a_kill_while_writing_leaves_the_old_state(checkpoints: Checkpoints) -> None:
    checkpoints.save("path", {"done": 1})
    with pytest.raises(Killed):
        checkpoints.save("path", {"done": 2, "dies": Deadly()})
    assert checkpoints.load("path") == {"done": 1}
    checkpoints.save("path", {"done": 3})
    assert checkpoints.load("path") == {"done": 3}
    assert files(checkpoints) == ["path.pt"]


@pytest.mark.parametrize("last_step", ["fsync", "replace"])
def test_a_kill_before_the_last_step_leaves_the_old_arrays(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, last_step: str
) -> None:
    def kill(*_: Any) -> None:
        raise Killed

    checkpoints.save_arrays("epoch-1", {"w": np.zeros(2)})
    place = "os.fsync" if last_step == "fsync" else "pathlib.Path.replace"
    monkeypatch.setattr(place, kill)
    with pytest.raises(Killed):
        checkpoints.save_arrays("epoch-1", {"w": np.ones(2)})
    arrays = checkpoints.load_arrays("epoch-1")
    assert arrays is not None
    assert arrays["w"].tolist() == [0, 0]


def test_the_name_is_taken_only_after_the_bytes_are_on_disk(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr("os.fsync", lambda _: seen.append(files(checkpoints)))
    checkpoints.save_arrays("epoch-1", {"w": np.ones(2)})
    assert seen == [[f"epoch-1.npz.{os.getpid()}.part"]]
    assert files(checkpoints) == ["epoch-1.npz"]


@pytest.mark.parametrize(
    "name", ["a/b::c", "arr_0", "file", "../../etc", "", "weight.0", "größe\n", "0", "w" * 300]
)
def test_arrays_may_have_names_of_any_characters(checkpoints: Checkpoints, name: str) -> None:
    given = {name: np.arange(3.0), "other": np.ones((2, 2))}
    checkpoints.save_arrays("epoch-1", given)
    arrays = checkpoints.load_arrays("epoch-1")
    assert arrays is not None
    assert {key: array.tolist() for key, array in arrays.items()} == {
        key: array.tolist() for key, array in given.items()
    }


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64", "bool"])
def test_dtype_shape_and_bytes_are_kept(checkpoints: Checkpoints, dtype: str) -> None:
    given = {
        "matrix": np.array([[0, 1, -1.5], [1e-4, -0.0, 7]]).astype(dtype),
        "scalar": np.array(3).astype(dtype),
        "empty": np.zeros((0, 4), dtype=dtype),
        "strided": np.arange(12).reshape(3, 4).T.astype(dtype),
    }
    checkpoints.save_arrays("epoch-1", given)
    arrays = checkpoints.load_arrays("epoch-1")
    assert arrays is not None
    for name, array in given.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def test_no_arrays_are_not_the_same_as_none_saved(checkpoints: Checkpoints) -> None:
    checkpoints.save_arrays("epoch-1", {})
    assert checkpoints.load_arrays("epoch-1") == {}


def test_states_and_arrays_of_one_name_lie_side_by_side(checkpoints: Checkpoints) -> None:
    checkpoints.save("point", {"done": 1})
    checkpoints.save_arrays("point", {"w": np.ones(2)})
    checkpoints.drop("point")
    assert checkpoints.load_arrays("point") is not None


def test_processes_that_write_one_state_at_once_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins, and ends, while the first one writes."""
    checkpoints, plain = Checkpoints(tmp_path), torch.save

    def first(state: object, file: BinaryIO) -> None:
        monkeypatch.setattr(torch, "save", plain)
        monkeypatch.setattr(os, "getpid", lambda: 2)
        Checkpoints(tmp_path).save("one", {"by": 2})
        plain(state, file)

    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(torch, "save", first)
    checkpoints.save("one", {"by": 1})
    assert checkpoints.load("one") == {"by": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["one.pt"]
