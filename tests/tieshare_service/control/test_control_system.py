import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import httpx

from tieshare_service.control.services import Services
from tieshare_service.liveness import Liveness
from tieshare_service.settings import Settings

Serve = Callable[[Settings], tuple[httpx.Client, Services]]


def test_a_service_that_can_work_is_alive_and_ready(http: httpx.Client) -> None:
    for path, found in {
        "/healthz": {"status": "ok"},
        "/readyz": {"status": "ok", "workers": 0},
    }.items():
        answer = http.get(path)
        assert (answer.status_code, answer.json()) == (200, found)


def test_readiness_and_metrics_tell_how_many_workers_live(serve: Serve, settings: Settings) -> None:
    http, services = serve(settings)
    now = time.time()
    for name, at in {"a": now, "b": now, "gone": now - settings.lease_s - 1}.items():
        Liveness(services.engine, partial(float, at)).beat(name)
    assert http.get("/readyz").json()["workers"] == 2
    assert "tieshare_workers 2" in http.get("/metrics").text.splitlines()


def test_a_service_without_its_data_folder_is_alive_and_not_ready(
    serve: Serve, settings: Settings
) -> None:
    http, _ = serve(settings)
    shutil.rmtree(settings.data_dir)
    settings.data_dir.write_text("a file")
    assert http.get("/healthz").status_code == 200
    answer = http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["type"].endswith("/not-ready")
    assert answer.json()["where"] in ("database", "data folder")


def test_metrics_count_jobs_uploads_and_requests(
    serve: Serve, settings: Settings, model_bytes: bytes, dataset_bytes: bytes
) -> None:
    http, _ = serve(settings)
    model = http.post("/v1/models", content=model_bytes).json()["id"]
    dataset = http.post("/v1/datasets", content=dataset_bytes).json()["id"]
    for _ in range(2):
        http.post("/v1/jobs", json={"model": model, "dataset": dataset})
    http.get("/v1/jobs/nothing")
    http.get("/no/such/path")
    answer = http.get("/metrics")
    lines = answer.text.splitlines()
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'tieshare_jobs{status="queued"} 2' in lines
    assert 'tieshare_uploads_total{kind="models"} 1' in lines
    assert f'tieshare_upload_bytes_total{{kind="models"}} {len(model_bytes)}' in lines
    assert 'tieshare_requests_total{operation="create_job",status="202"} 2' in lines
    assert 'tieshare_requests_total{operation="get_job",status="404"} 1' in lines
    assert 'tieshare_requests_total{operation="none",status="404"} 1' in lines


def test_every_line_of_the_metrics_is_one_that_prometheus_reads(http: httpx.Client) -> None:
    text = http.get("/metrics").text
    assert text.endswith("\n")
    sample = re.compile(r'[a-z_]+(\{[a-z]+="[\w-]*"(,[a-z]+="[\w-]*")*\})? \d+')
    comment = re.compile(r"# (HELP|TYPE) [a-z_]+ .+")
    for line in text.splitlines():
        assert sample.fullmatch(line) or comment.fullmatch(line), line


def test_the_api_imports_no_trainer() -> None:
    code = (
        "import sys, tieshare_service.control.app\n"
        "print({'torch', 'scipy', 'sklearn', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
