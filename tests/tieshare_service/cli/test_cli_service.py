"""The commands that talk to a service, against the control API itself."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tieshare_service.control.services import Services

FILE = {
    "accuracy": 0.9733,
    "bytes": 209867,
    "parameters": 50826,
    "unique_parameters": 50826,
    "compression_ratio": 1.0,
    "sparsity": 0.0,
    "parameter_sharing": 1.0,
    "latency_us": {"1": 12.5, "32": 99.0},
}
REPORT = {
    "baseline": FILE,
    "tied": FILE,
    "shared": {**FILE, "bytes": 9000},
    "notes": ["the path ended before it reached the ratio"],
}


@pytest.fixture
def ask(tieshare: Any, http: httpx.Client) -> Any:
    """Runs a command against the API and insists on exit code 0."""

    def run(*words: object, code: int = 0) -> Any:
        done = tieshare(*words, TIESHARE_URL=str(http.base_url))
        assert done.exit_code == code, done.output
        return done

    return run


def succeed(services: Services) -> None:
    job = services.queue.claim("worker", 30.0)
    assert job is not None
    step = {"stage": "path", "done": 3, "total": 9, "unit": "epochs", "eta_s": 1.5}
    services.queue.progress(job.id, job.attempt, {**step, "metrics": {"accuracy": 0.5}})
    made = [services.blobs.put_artifact(job.id, name, b"{}\n") for name in ("a.onnx", "b.onnx")]
    served = {"name": "digits", "version": 1}
    result = {"report": REPORT, "artifacts": ["a.onnx", "b.onnx"], "served": served}
    services.queue.succeed(job.id, job.attempt, result, made)


def test_a_model_is_uploaded_listed_shown_fetched_and_deleted(
    ask: Any, model_bytes: bytes, tmp_path: Path
) -> None:
    file = tmp_path / "small.onnx"
    file.write_bytes(model_bytes)
    model = json.loads(ask("models", "create", file, "--json").stdout)

    assert (model["name"], model["parameters"]) == ("small", 51)
    assert json.loads(ask("models", "list", "--json").stdout) == [model]
    assert json.loads(ask("models", "get", model["id"], "--json").stdout) == model
    listed = ask("models", "list").stdout.splitlines()
    assert listed[0].split() == ["id", "name", "parameters", "bytes", "created"]
    assert listed[1].split()[:4] == [model["id"], "small", "51", str(len(model_bytes))]
    assert "x float32 [batch, 4]" in ask("models", "get", model["id"]).stdout
    ask("models", "download", model["id"], "--out", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == model_bytes
    ask("models", "delete", model["id"])
    assert json.loads(ask("models", "list", "--json").stdout) == []


def test_a_data_set_is_uploaded_and_shown(ask: Any, dataset_bytes: bytes, tmp_path: Path) -> None:
    file = tmp_path / "numbers.npz"
    file.write_bytes(dataset_bytes)
    shown = ask("datasets", "create", file, "--name", "[bold]mine").stdout

    assert "[bold]mine" in shown
    assert "x float32 [60, 4]" in shown


def test_a_refused_upload_is_one_line_with_the_problem_type(ask: Any, tmp_path: Path) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(b"not a model")
    done = ask("models", "create", file, "--json", code=2)

    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert done.stderr.splitlines()[-1].endswith("[model-not-onnx]")


def test_flags_and_recipe_file_become_the_recipe_of_the_job(
    ask: Any, uploaded: tuple[str, str], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"penalty": "oscar", "seed": 1, "tie": false}')
    job = json.loads(
        ask(
            *("jobs", "submit", *uploaded, "--recipe", recipe, "--seed", 7),
            *("--min-ratio", 20, "--name", "mine", "--json"),
        ).stdout
    )

    assert (job["name"], job["status"]) == ("mine", "queued")
    wanted = {"penalty": "oscar", "seed": 7, "tie": False}
    assert {name: job["recipe"][name] for name in wanted} == wanted
    assert job["recipe"]["target"] == {"max_drop": None, "min_ratio": 20.0}


def test_a_request_is_checked_without_queueing(ask: Any, uploaded: tuple[str, str]) -> None:
    plan = json.loads(ask("jobs", "submit", *uploaded, "--validate-only").stdout)

    assert plan["name"] == "digits"
    assert json.loads(ask("jobs", "list", "--json").stdout) == []


def test_a_finished_job_shows_its_table_and_gives_its_files(
    ask: Any, services: Services, uploaded: tuple[str, str], tmp_path: Path
) -> None:
    job_id = json.loads(ask("jobs", "submit", *uploaded, "--json").stdout)["id"]
    succeed(services)
    done = ask("jobs", "watch", job_id)
    shown = done.stdout

    assert "digits, version 1" in shown
    assert done.stderr.endswith("Note: the path ended before it reached the ratio\n")
    assert "97.33 %" in shown
    assert "99.0 µs" in shown
    events = [
        json.loads(line)
        for line in ask("jobs", "watch", job_id, "--json").stdout.split("\n")
        if line
    ]
    assert [event["seq"] for event in events] == [1, 2, 3, 4]
    assert [line.split()[0] for line in ask("jobs", "artifacts", job_id).stdout.splitlines()] == [
        "name",
        "a.onnx",
        "b.onnx",
    ]
    ask("jobs", "download", job_id, "--out", tmp_path / "all")
    assert sorted(file.name for file in (tmp_path / "all").iterdir()) == ["a.onnx", "b.onnx"]
    ask("jobs", "download", job_id, "b.onnx", "--out", tmp_path / "one")
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["b.onnx"]
    missing = ask("jobs", "download", job_id, "c.onnx", code=2)
    assert "has no artifact 'c.onnx', only a.onnx, b.onnx" in missing.stderr


def test_watching_a_cancelled_job_fails(ask: Any, uploaded: tuple[str, str]) -> None:
    job_id = json.loads(ask("jobs", "submit", *uploaded, "--json").stdout)["id"]
    ask("jobs", "cancel", job_id)
    done = ask("jobs", "watch", job_id, code=1)

    assert done.stderr.splitlines()[-1] == f"Error: job {job_id} is cancelled"
    assert json.loads(ask("jobs", "retry", job_id, "--json").stdout)["status"] == "queued"
    assert len(ask("jobs", "events", job_id).stdout.splitlines()) == 4


def test_a_job_that_is_not_there_is_bad_input(ask: Any) -> None:
    done = ask("jobs", "get", "job_" + 20 * "a", code=2)

    assert "[job-not-found]" in done.stderr
