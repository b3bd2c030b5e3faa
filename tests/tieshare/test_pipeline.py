import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

import tieshare
from tieshare.data import Dataset
from tieshare.exports.count import count_shared, count_tied
from tieshare.files import Files
from tieshare.front_chart import svg
from tieshare.graph import structure_of, tensors
from tieshare.measure import predict
from tieshare.pipeline import Result, compress
from tieshare.progress import Progress
from tieshare.recipe import Recipe, Target
from tieshare.report import FileReport, Report

Array = np.ndarray
Short = Callable[..., Recipe]


@dataclass(frozen=True)
class Done:
    """A job on the network of digits, with splits of its own for all three uses."""

    model: ModelProto
    data: Dataset
    result: Result

    @property
    def files(self) -> dict[str, tuple[ModelProto, FileReport]]:
        report = self.result.report
        return {
            "baseline": (self.model, report.baseline),
            "tied": (self.result.tied, report.tied),
            "shared": (self.result.shared, report.shared),
            "packed": (self.result.packed, report.packed),
        }

    def accuracy(self, model: ModelProto, split: str) -> float:
        x, y = self.data.arrays[f"x_{split}"], self.data.arrays[f"y_{split}"]
        return float((predict(model, "logits", [x]).argmax(1) == y).mean())


def in_three(digits: Dataset) -> Dataset:
    arrays: dict[str, Array] = {}
    for name, array in digits.arrays.items():
        arrays |= {name: array[:1_100], f"{name}_val": array[1_100:1_400]}
        arrays[f"{name}_test"] = array[1_400:]
    return Dataset(arrays)


@pytest.fixture(scope="session")
def small_drop(mlp: ModelProto, digits: Dataset, short: Short) -> Done:
    data = in_three(digits)
    recipe = short(Target(max_drop=0.03), path_epochs=20, retrain_epochs=3)
    return Done(mlp, data, compress(mlp, data, recipe))


@pytest.fixture(scope="session")
def large_ratio(mlp: ModelProto, digits: Dataset, short: Short) -> Done:
    data = in_three(digits)
    recipe = short(Target(min_ratio=4.0), path_epochs=20, retrain_epochs=3)
    return Done(mlp, data, compress(mlp, data, recipe))


@pytest.fixture(scope="session")
def few_bytes(mlp: ModelProto, digits: Dataset, short: Short) -> Done:
    data = in_three(digits)
    recipe = short(Target(max_bytes=1_200), path_epochs=20, retrain_epochs=3)
    return Done(mlp, data, compress(mlp, data, recipe))


@pytest.fixture(params=["small_drop", "large_ratio", "few_bytes"])
def done(request: pytest.FixtureRequest) -> Done:
    found: Done = request.getfixturevalue(request.param)
    return found


def test_all_files_are_valid(done: Done) -> None:
    for model in (done.result.tied, done.result.shared, done.result.packed):
        onnx.checker.check_model(model, full_check=True)


def test_the_tied_file_is_the_upload_with_other_values(done: Done) -> None:
    assert list(done.result.tied.graph.node) == list(done.model.graph.node)
    before, after = tensors(done.model), tensors(done.result.tied)
    assert {name: array.shape for name, array in after.items()} == {
        name: array.shape for name, array in before.items()
    }


def test_tied_and_shared_answer_alike(done: Done) -> None:
    x = [done.data.arrays["x_test"]]
    tied, shared = (predict(m, "logits", x) for m in (done.result.tied, done.result.shared))
    assert shared == pytest.approx(tied, abs=1e-4 * float(np.abs(tied).max()))
    assert (shared.argmax(1) == tied.argmax(1)).all()


def test_packed_answers_as_shared_but_for_the_rounding_of_biases(done: Done) -> None:
    x = [done.data.arrays["x_test"]]
    shared, packed = (predict(m, "logits", x) for m in (done.result.shared, done.result.packed))
    assert packed == pytest.approx(shared, abs=1e-2 * float(np.abs(shared).max()))
    assert (packed.argmax(1) == shared.argmax(1)).mean() > 0.99


def test_the_report_is_what_is_measured_again_on_the_files(done: Done) -> None:
    for model, file in done.files.values():
        assert file.bytes == len(model.SerializeToString())
        assert file.accuracy == done.accuracy(model, "test")
    counts = count_tied(done.result.tied, structure_of(done.result.tied))
    assert done.result.report.tied.unique_parameters == counts.unique_parameters
    stored = count_shared(done.result.shared, 2_410)
    assert done.result.report.shared.unique_parameters == stored.unique_parameters
    assert done.result.report.packed.unique_parameters == stored.unique_parameters


def test_unique_parameters_are_what_one_counts_by_hand(done: Done) -> None:
    values = tensors(done.result.tied)
    read = values["w2"].any(axis=1)
    different = {
        name: len({row.tobytes() for row in values[name] if row.any()}) for name in ("w1", "w2")
    }
    unique = different["w1"] * read.sum() + read.sum() + different["w2"] * 10 + 10
    tied = done.result.report.tied
    assert tied.unique_parameters == unique
    assert tied.compression_ratio == pytest.approx(2_410 / unique)
    assert tied.compression_ratio > 1.2
    report = done.result.report
    assert report.packed.bytes < report.shared.bytes < report.baseline.bytes


def test_the_loss_of_accuracy_is_kept_on_the_held_out_samples(small_drop: Done) -> None:
    before, after = (
        small_drop.accuracy(model, "val") for model in (small_drop.model, small_drop.result.tied)
    )
    assert before - after <= 0.03
    held_out = small_drop.result.report.held_out
    assert held_out is not None
    assert held_out.samples == 300
    assert held_out.accuracy == pytest.approx(after)
    assert held_out.drop == pytest.approx(before - after)
    assert small_drop.result.report.notes == ()


def test_the_ratio_is_reached(large_ratio: Done) -> None:
    assert large_ratio.result.report.tied.compression_ratio >= 4
    assert large_ratio.accuracy(large_ratio.result.tied, "test") > 0.5
    (chosen,) = [point for point in large_ratio.result.report.front if point.chosen]
    assert chosen.compression_ratio == large_ratio.result.report.tied.compression_ratio


def test_the_file_has_no_more_bytes_than_were_asked_for(few_bytes: Done) -> None:
    assert few_bytes.result.report.packed.bytes <= 1_200
    assert few_bytes.accuracy(few_bytes.result.packed, "test") > 0.5
    assert few_bytes.result.report.notes == ()


def test_the_front_is_that_of_the_files_and_the_result_is_one_of_it(done: Done) -> None:
    result = done.result
    assert [point.point for point in result.report.front] == [*range(1, len(result.front) + 1)]
    for point, files in zip(result.report.front, result.front, strict=True):
        assert (point.bytes, point.packed_bytes) == (files.bytes, files.packed_bytes)
        assert point.latency_us == files.latency_us
        assert point.accuracy == done.accuracy(files.tied, "val")
        assert point.chosen == (files is result.chosen)
    assert sum(point.chosen for point in result.report.front) == 1
    assert not any(one.beats(other) for one in result.front for other in result.front)


def models_of(files: Files) -> dict[str, bytes]:
    models = {"tied": files.tied, "shared": files.shared.model, "packed": files.packed}
    return {f"{name}.onnx": model.SerializeToString() for name, model in models.items()}


def test_a_result_is_saved_with_the_files_of_its_whole_front(done: Done, tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    done.result.save(folder)
    expected = models_of(done.result.chosen)
    for number, files in enumerate(done.result.front, start=1):
        expected |= {f"point-{number}.{name}": raw for name, raw in models_of(files).items()}
    saved = {path.name: path.read_bytes() for path in folder.glob("*.onnx")}
    assert saved == expected
    others = {path.name for path in folder.iterdir()} - saved.keys()
    assert others == {"report.json", "front.png", "front.svg"}
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "front.svg").read_text() == svg(done.result.report)
    assert saved["tied.onnx"] == done.result.tied.SerializeToString()
    assert len(saved["shared.onnx"]) == done.result.report.shared.bytes
    assert len(saved["packed.onnx"]) == done.result.report.packed.bytes
    plain = json.loads((folder / "report.json").read_text())
    assert Report.from_dict(plain) == done.result.report


def test_what_was_handed_in_is_not_changed(mlp: ModelProto, digits: Dataset, short: Short) -> None:
    def raw() -> tuple[bytes, ...]:
        return mlp.SerializeToString(), *(array.tobytes() for array in digits.arrays.values())

    before = raw()
    compress(mlp, digits, short(path_epochs=1))
    assert raw() == before


def test_the_package_hands_it_out_by_its_name() -> None:
    assert tieshare.compress is compress


def test_without_a_folder_nothing_is_left_behind(
    mlp: ModelProto, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: Short
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    heard: list[list[str]] = []
    compress(
        mlp,
        digits,
        short(path_epochs=1),
        lambda _: heard.append([path.name for path in tmp_path.iterdir()]),
    )
    assert any(names[0].startswith("tieshare-") for names in heard)
    assert list(tmp_path.iterdir()) == []


def test_the_stages_are_told_in_the_order_of_the_job(
    mlp: ModelProto, digits: Dataset, short: Short
) -> None:
    heard: list[Progress] = []
    compress(mlp, digits, short(), heard.append)
    stages = [item.stage for item in heard]
    assert list(dict.fromkeys(stages)) == ["check", "path", "retrain", "export", "measure"]
    assert all(0 <= item.done <= item.total for item in heard)
    assert all(item.eta_s is None or item.eta_s >= 0 for item in heard)


def test_the_front_is_told_as_it_grows(mlp: ModelProto, digits: Dataset, short: Short) -> None:
    heard: list[Progress] = []
    recipe = short(Target(front=True), path_epochs=20, retrain_epochs=3)
    result = compress(mlp, digits, recipe, heard.append)
    fronts = [item.front for item in heard if item.front is not None]
    assert len(fronts[0]) == 1
    assert all(item.stage == "retrain" for item in heard if item.front is not None)
    assert len(fronts[-1]) >= 2
    assert [replace(point, chosen=False) for point in result.report.front] == [*fronts[-1]]
    assert sum(point.chosen for point in result.report.front) == 1
