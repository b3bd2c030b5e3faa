"""The commands that talk to a service, against the control API itself."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from tieshare.recipe import Target
from tieshare_service.control.services import Services
from tieshare_service.publish import Point

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
    "packed": {**FILE, "bytes": 2100},
    "paper_ratio": 1.0,
    "layers": [],
    "notes": ["the path ended before it reached the ratio"],
}
CHOSEN = ["front.svg", "report.json", "shared.onnx"]
FILES = sorted([*CHOSEN, "point-1.shared.onnx", "point-2.shared.onnx", "point-3.packed.onnx"])


@pytest.fixture
def ask(tieshare: Any, http: httpx.Client) -> Any:
    """Runs a command against the API and insists on exit code 0."""

    def run(*words: object, code: int = 0) -> Any:
        done = tieshare(*words, TIESHARE_URL=str(http.base_url))
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def succeed(services: Services, front: list[dict[str, Any]]) -> Callable[[], None]:
    """What a worker would do to the oldest job."""

    def succeed() -> None:
        job = services.queue.claim("worker", 30.0)
        assert job is not None
        step = {"stage": "path", "done": 3, "total": 9, "unit": "epochs", "eta_s": 1.5}
        services.queue.progress(job.id, job.attempt, {**step, "metrics": {"accuracy": 0.5}})
        services.queue.front(job.id, job.attempt, front[:1])
        services.queue.front(job.id, job.attempt, front)
        made = [services.blobs.put_artifact(job.id, name, name.encode()) for name in FILES]
        served = {"name": "digits", "version": 1}
        services.publisher.publish(job.id, "digits", b"shared.onnx", Point(2))
        result = {"report": REPORT | {"front": front}, "artifacts": FILES, "served": served}
        services.queue.succeed(job.id, job.attempt, result, made)

    return succeed


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
    back = ask("models", "download", model["id"], "--out", tmp_path / "back.onnx", "--json")
    assert json.loads(back.stdout) == {"file": str(tmp_path / "back.onnx")}
    assert (tmp_path / "back.onnx").read_bytes() == model_bytes
    gone = ask("models", "delete", model["id"], "--json")
    assert json.loads(gone.stdout) == {"deleted": [model["id"]]}
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
    assert job["recipe"]["target"] == asdict(Target(min_ratio=20.0))


def test_a_request_is_checked_without_queueing(ask: Any, uploaded: tuple[str, str]) -> None:
    plan = json.loads(ask("jobs", "submit", *uploaded, "--validate-only").stdout)

    assert plan["name"] == "digits"
    assert json.loads(ask("jobs", "list", "--json").stdout) == []


def test_a_finished_job_shows_its_tables(
    ask: Any, succeed: Callable[[], None], uploaded: tuple[str, str]
) -> None:
    job_id = json.loads(ask("jobs", "submit", *uploaded, "--json").stdout)["id"]
    succeed()
    done = ask("jobs", "watch", job_id)
    shown = done.stdout

    assert "digits, version 1" in shown
    assert done.stderr.endswith("Note: the path ended before it reached the ratio\n")
    assert "97.33 %" in shown
    assert "99.0 µs" in shown
    assert "packed" in shown
    (chosen,) = (line for line in shown.splitlines() if "chosen" in line)
    assert " ".join(chosen.split()) == "2 97.98 % 38,000 7,600 25.3x 15.2 µs 58.8 µs chosen"
    assert shown.count("97.74 %") == 1
    events = [
        json.loads(line)
        for line in ask("jobs", "watch", job_id, "--json").stdout.split("\n")
        if line
    ]
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]


def test_a_front_that_grows_is_a_line_for_each_new_point(
    ask: Any, succeed: Callable[[], None], uploaded: tuple[str, str]
) -> None:
    job_id = json.loads(ask("jobs", "submit", *uploaded, "--json").stdout)["id"]
    succeed()
    lines = ask("jobs", "watch", job_id).stderr.splitlines()

    assert [line for line in lines if line.startswith("new point")] == [
        "new point: 98.18 %, 19.4x, 49,435 bytes, 9,887 packed, 15.2 µs at batch 1",
        "new point: 97.98 %, 25.3x, 38,000 bytes, 7,600 packed, 15.2 µs at batch 1",
        "new point: 97.74 %, 45.7x, 21,000 bytes, 4,200 packed, 15.2 µs at batch 1",
    ]


def test_downloading_takes_the_chosen_files_all_or_those_that_are_named(
    ask: Any, succeed: Callable[[], None], uploaded: tuple[str, str], tmp_path: Path
) -> None:
    job_id = json.loads(ask("jobs", "submit", *uploaded, "--json").stdout)["id"]
    succeed()

    def fetched(*words: str) -> list[str]:
        out = tmp_path / "-".join(("out", *words))
        said = json.loads(ask("jobs", "download", job_id, *words, "--out", out, "--json").stdout)
        assert sorted(said["files"]) == sorted(str(file) for file in out.iterdir())
        assert all(file.read_bytes() == file.name.encode() for file in out.iterdir())
        return sorted(file.name for file in out.iterdir())

    listed = ask("jobs", "artifacts", job_id).stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["name", *FILES]
    assert fetched() == CHOSEN
    assert fetched("--all") == FILES
    assert fetched("point-3.packed.onnx") == ["point-3.packed.onnx"]
    missing = ask("jobs", "download", job_id, "c.onnx", code=2)
    assert f"has no artifact 'c.onnx', only {', '.join(FILES)}" in missing.stderr
    assert "NAMEs or --all" in ask("jobs", "download", job_id, "x", "--all", code=2).stderr


def test_another_point_is_published(
    ask: Any, succeed: Callable[[], None], uploaded: tuple[str, str]
) -> None:
    job_id = json.loads(ask("jobs", "submit", *uploaded, "--json").stdout)["id"]
    assert "[job-wrong-state]" in ask("jobs", "publish", job_id, "--point", 1, code=2).stderr
    succeed()

    shown = ask("jobs", "publish", job_id, "--point", 3, "--file", "packed").stdout
    assert "digits, version 2" in shown
    again = ask("jobs", "publish", job_id, "--point", 3, "--file", "packed", "--json").stdout
    assert json.loads(again) == {"name": "digits", "version": 2}
    assert "digits, version 2" in ask("jobs", "get", job_id).stdout
    refused = ask("jobs", "publish", job_id, "--point", 3, code=2)
    assert "no shared file of point 3; it has 1, 2 [no-such-point]" in refused.stderr


@pytest.mark.parametrize(
    ("flags", "target"),
    [
        (("--max-bytes", 9000), {"max_bytes": 9000}),
        (("--max-latency-us", 12.5), {"max_latency_us": 12.5}),
        (("--front",), {"front": True}),
    ],
)
def test_each_target_has_a_flag(
    ask: Any, uploaded: tuple[str, str], flags: tuple[object, ...], target: dict[str, Any]
) -> None:
    plan = json.loads(ask("jobs", "submit", *uploaded, *flags, "--validate-only").stdout)

    assert plan["recipe"]["target"] == asdict(Target(**target))


def test_watching_a_cancelled_job_fails(ask: Any, uploaded: tuple[str, str]) -> None:
    job_id = json.loads(ask("jobs", "submit", *uploaded, "--json").stdout)["id"]
    ask("jobs", "cancel", job_id)
    done = ask("jobs", "watch", job_id, code=1)

    assert done.stderr.splitlines()[-1] == f"Error: job {job_id} is cancelled"
    assert json.loads(ask("jobs", "retry", job_id, "--json").stdout)["status"] == "queued"
    assert len(ask("jobs", "events", job_id).stdout.splitlines()) == 4
    ask("jobs", "cancel", job_id)
    assert json.loads(ask("jobs", "delete", job_id, "--json").stdout) == {"deleted": [job_id]}
    ask("jobs", "get", job_id, code=2)


def test_a_job_that_is_not_there_is_bad_input(ask: Any) -> None:
    done = ask("jobs", "get", "job_" + 20 * "a", code=2)

    assert "[job-not-found]" in done.stderr
