"""``tieshare front``: a picture of a report, from a file or from a service."""

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tieshare.front_chart import png, svg
from tieshare.report import FileReport, FrontPoint, Report
from tieshare_service.control.services import Services


@pytest.fixture
def report(front: list[dict[str, Any]]) -> Report:
    latency = {1: 30.5, 32: 190.25}
    dense = FileReport(958_268, 238_510, 238_510, 1.0, 0.0, 1.0, latency, accuracy=0.9827)
    points = tuple(FrontPoint(**{**point, "latency_us": {1: 15.25, 32: 58.75}}) for point in front)
    return Report(dense, dense, dense, dense, 1.0, front=points)


@pytest.fixture
def file(report: Report, tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(report.to_json())
    return path


def test_a_local_report_is_drawn_in_both_forms(
    tieshare: Any, file: Path, report: Report, tmp_path: Path
) -> None:
    for name in ("front.svg", "front.png"):
        done = tieshare("front", file, "--out", tmp_path / name)
        assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "front.svg").read_text() == svg(report)
    assert (tmp_path / "front.png").read_bytes() == png(report)


def test_the_report_of_a_job_is_asked_of_the_service(
    tieshare: Any,
    http: httpx.Client,
    services: Services,
    uploaded: tuple[str, str],
    report: Report,
    tmp_path: Path,
) -> None:
    asked = {"model": uploaded[0], "dataset": uploaded[1]}
    job_id = http.post("/v1/jobs", json=asked).json()["id"]
    command = ("front", job_id, "--out", tmp_path / "front.svg", "--url", http.base_url)
    early = tieshare(*command)
    services.queue.claim("worker", 30)
    result = {"report": json.loads(report.to_json()), "artifacts": [], "served": None}
    services.queue.succeed(job_id, 1, result)

    assert (early.exit_code, early.stderr) == (
        2,
        f"Error: job {job_id} is queued: it has no report\n",
    )
    assert tieshare(*command).exit_code == 0
    assert (tmp_path / "front.svg").read_text() == svg(report)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a report"),
        ('{"front": []}', "has no front"),
        ('{"front": [{"unique_parameters": 3}]}', "not a report of this version"),
    ],
)
def test_what_is_no_report_with_a_front_is_refused(
    tieshare: Any, tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "bad.json").write_text(content)
    done = tieshare("front", tmp_path / "bad.json", "--out", tmp_path / "front.png")

    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "front.png").exists()


def test_a_file_that_is_not_there_is_named(tieshare: Any, tmp_path: Path) -> None:
    done = tieshare("front", tmp_path / "none.json", "--out", tmp_path / "front.png")

    assert done.exit_code == 1
    assert "none.json" in done.stderr


def test_another_form_is_refused(tieshare: Any, file: Path, tmp_path: Path) -> None:
    done = tieshare("front", file, "--out", tmp_path / "front.pdf")

    assert done.exit_code == 2
    assert "front.pdf: a picture ends in .png or .svg" in done.stderr


def test_without_matplotlib_the_command_says_what_to_install(
    tieshare: Any, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = tieshare("front", file, "--out", tmp_path / "front.png")

    assert done.exit_code == 2
    assert "pip install 'tieshare[plot]'" in done.stderr
    assert not (tmp_path / "front.png").exists()
