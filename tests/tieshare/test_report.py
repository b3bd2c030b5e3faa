import json
from dataclasses import replace
from typing import Any

import pytest

from tieshare.exports.count import Counts
from tieshare.recipe import Recipe
from tieshare.report import (
    FileReport,
    FrontPoint,
    HeldOut,
    LayerReport,
    Report,
)
from tieshare.score import Score


def file(size: int, counts: Counts, accuracy: float) -> FileReport:
    return FileReport.of(size, counts, Score(accuracy=accuracy), {1: 20.04, 32: 1234.56})


def point(number: int, unique: int, **scored: Any) -> FrontPoint:
    """With bytes and latencies that follow from the unique parameters."""
    latency_us = {1: unique / 1_000, 32: unique / 100}
    ratio = 238_510 / unique
    return FrontPoint(number, unique, ratio, 4 * unique, unique, 3 * unique, latency_us, **scored)


@pytest.fixture
def report() -> Report:
    return Report(
        baseline=file(959_219, Counts(238_510, 238_510, 0, 238_510), 0.9823),
        tied=file(959_219, Counts(238_510, 5_000, 200_000, 238_510), 0.981),
        shared=file(21_000, Counts(4_770, 4_770, 0, 238_510), 0.981),
        packed=file(5_400, Counts(4_770, 4_770, 0, 238_510), 0.9808),
        paper_ratio=60.5,
        layers=(LayerReport("fc1", "Gemm", 784, 300, 200, 60, "sums", "fastest", bits=4),),
        front=(
            point(1, 8_000, accuracy=0.982),
            point(2, 4_770, accuracy=0.98, chosen=True),
        ),
        held_out=HeldOut(6_000, drop=0.001, standard_error=0.0005, accuracy=0.98),
        recipe=Recipe().to_dict(),
        seeds={"recipe": 0},
        versions={"onnx": "1.23.2"},
        notes=("nothing of note",),
    )


def test_the_json_has_the_names_of_the_contract(report: Report) -> None:
    plain = json.loads(report.to_json())
    assert plain["shared"] == {
        "accuracy": 0.981,
        "bytes": 21_000,
        "parameters": 4_770,
        "unique_parameters": 4_770,
        "compression_ratio": pytest.approx(50.002, abs=1e-3),
        "sparsity": 0.0,
        "parameter_sharing": 1.0,
        "latency_us": {"1": 20.04, "32": 1234.56},
    }
    assert plain["tied"]["sparsity"] == pytest.approx(200_000 / 238_510)
    assert plain["tied"]["parameter_sharing"] == pytest.approx(38_510 / 5_000)
    assert plain["baseline"]["compression_ratio"] == 1
    assert list(plain) == [
        "baseline",
        "tied",
        "shared",
        "packed",
        "paper_ratio",
        "layers",
        "front",
        "held_out",
        "recipe",
        "seeds",
        "versions",
        "notes",
    ]


def test_a_point_of_the_front_tells_what_was_measured_on_its_files(report: Report) -> None:
    plain = json.loads(report.to_json())
    assert plain["front"][1] == {
        "point": 2,
        "unique_parameters": 4_770,
        "compression_ratio": pytest.approx(50.002, abs=1e-3),
        "bytes": 19_080,
        "packed_bytes": 4_770,
        "macs": 14_310,
        "latency_us": {"1": 4.77, "32": 47.7},
        "accuracy": 0.98,
        "chosen": True,
    }
    assert [item["chosen"] for item in plain["front"]] == [False, True]
    assert plain["layers"][0]["bits"] == 4


def test_a_front_of_a_regression_has_losses(report: Report) -> None:
    plain = replace(report, front=(point(1, 900, loss=0.5),)).to_dict()
    assert plain["front"][0]["loss"] == 0.5
    assert "accuracy" not in plain["front"][0]


def test_the_recipe_keeps_the_fields_that_are_not_set(report: Report) -> None:
    assert json.loads(report.to_json())["recipe"]["target"] == {
        "max_drop": 0.01,
        "min_ratio": None,
        "max_bytes": None,
        "max_latency_us": None,
        "front": None,
    }


def test_a_regression_has_a_loss_and_no_accuracy(report: Report) -> None:
    shared = replace(report.shared, accuracy=None, loss=0.25)
    plain = replace(report, shared=shared).to_dict()
    assert plain["shared"]["loss"] == 0.25
    assert "accuracy" not in plain["shared"]
    assert "loss" not in plain["baseline"]


def test_what_was_written_can_be_read_back(report: Report) -> None:
    assert Report.from_dict(json.loads(report.to_json())) == report
    bare = Report(report.baseline, report.tied, report.shared, report.packed, paper_ratio=1.0)
    assert Report.from_dict(json.loads(bare.to_json())) == bare


def test_numbers_that_json_does_not_know_are_refused(report: Report) -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(report, paper_ratio=float("nan")).to_json()


def test_the_table_shows_the_files_side_by_side(report: Report) -> None:
    assert report.table() == (
        "        accuracy    bytes  parameters   unique  ratio  batch 1    batch 32\n"
        "dense    98.23 %  959,219     238,510  238,510   1.0x  20.0 us  1,234.6 us\n"
        "tied     98.10 %  959,219     238,510    5,000  47.7x  20.0 us  1,234.6 us\n"
        "shared   98.10 %   21,000       4,770    4,770  50.0x  20.0 us  1,234.6 us\n"
        "packed   98.08 %    5,400       4,770    4,770  50.0x  20.0 us  1,234.6 us\n"
    )


def test_the_table_of_a_regression_shows_the_loss(report: Report) -> None:
    def with_loss(file: FileReport) -> FileReport:
        return replace(file, accuracy=None, loss=0.01234)

    table = replace(
        report,
        baseline=with_loss(report.baseline),
        tied=with_loss(report.tied),
        shared=with_loss(report.shared),
        packed=with_loss(report.packed),
    ).table()
    assert table.splitlines()[0].split()[0] == "loss"
    assert table.splitlines()[1].split()[:2] == ["dense", "0.01234"]
