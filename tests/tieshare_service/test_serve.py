"""All roles on one machine, started and ended as one."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import onnx
import psutil
import pytest
from tests.serving import serving
from tests.waiting import until

from tieshare_service.errors import SettingsError
from tieshare_service.serve import inference_roles, roles, to_environ, with_free_ports
from tieshare_service.settings import Settings


def test_port_0_becomes_a_free_port() -> None:
    settings = with_free_ports(Settings(port=0, inference_port=0, inference_grpc_port=0))

    ports = {settings.port, settings.inference_port, settings.inference_grpc_port}
    assert len(ports) == 3
    assert min(ports) > 0


@pytest.mark.parametrize("setting", ["port", "inference_port", "inference_grpc_port"])
def test_a_port_in_use_is_named(setting: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        free = dict.fromkeys(("port", "inference_port", "inference_grpc_port"), 0)
        taken = Settings(**free | {setting: port})
        with pytest.raises(SettingsError, match=f"port {port}.*in use.*--{setting[:4]}") as caught:
            with_free_ports(taken)

    assert caught.value.where == setting


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(SettingsError) as caught:
        with_free_ports(Settings(host="192.0.2.1", port=0, inference_port=0))

    assert caught.value.where == "port"


def test_the_children_get_every_setting() -> None:
    settings = Settings(data_dir=Path("/some where"), port=1, lease_s=12.5, tracing=True)

    assert Settings.from_env(environ=to_environ(settings)) == settings


def test_a_wildcard_address_is_asked_at_loopback() -> None:
    api, inference = roles(Settings(host="0.0.0.0", inference_host="::1"), with_worker=False)

    assert api.health == "http://127.0.0.1:8000/healthz"
    assert inference.health == "http://[::1]:8001/healthz"


def test_several_inference_processes_are_as_many_roles() -> None:
    found = inference_roles(Settings(inference_workers=3))

    assert [role.name for role in found] == ["inference 1", "inference 2", "inference 3"]
    assert all("--one-worker" in role.command for role in found)
    assert len(roles(Settings(inference_workers=3), with_worker=True)) == 5


@pytest.mark.slow
def test_inference_processes_share_a_port_what_they_count_and_what_is_unloaded(
    tmp_path: Path,
) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 17]> m (float[n, 2] x) => (float[n, 2] y)'
        "{ y = Identity (x) }"
    )
    path = tmp_path / "models" / "same" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(model.SerializeToString())
    command = [sys.executable, "-m", "tieshare_service.cli", "inference"]
    command += ["--data-dir", str(tmp_path), "--inference-workers", "2"]
    command += ["--inference-port", "0", "--inference-grpc-port", "0"]
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = re.findall(r"http://[^\s,]+", process.stdout.readline())[0]
        children = psutil.Process(process.pid).children()

        def ask(method: str, route: str, content: object = None) -> httpx.Response:
            """Over a connection of its own, which one of the processes gets."""
            return httpx.request(method, f"{url}{route}", json=content, timeout=10)

        until(lambda: all(_ready(ask) for _ in range(10)), 20)
        for _ in range(40):
            assert ask("POST", "/v2/models/same/infer", body).status_code == 200
        for _ in range(4):
            (stats,) = ask("GET", "/v2/models/same/stats").json()["model_stats"]
            assert stats["inference_count"] == 40
            assert 'nv_inference_count{model="same",version="1"} 40' in ask("GET", "/metrics").text
        assert ask("POST", "/v2/repository/models/same/unload", {}).status_code == 200
        until(lambda: not any(_ready(ask) for _ in range(10)), 20)
        assert ask("POST", "/v2/repository/models/same/load", {}).status_code == 200
        until(lambda: all(_ready(ask) for _ in range(10)), 20)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0

    assert len(children) == 2
    assert [child for child in children if child.is_running()] == []
    assert [*(tmp_path / "inference").iterdir()] == []


def _ready(ask: Callable[[str, str], httpx.Response]) -> bool:
    return ask("GET", "/v2/models/same/ready").status_code == 200


@pytest.mark.slow
def test_the_whole_service_starts_answers_and_ends_within_ten_seconds(tmp_path: Path) -> None:
    with serving(tmp_path) as running:
        process = running.process
        children = psutil.Process(process.pid).children(recursive=True)
        urls = running.api, running.inference
        assert [httpx.get(f"{url}/healthz").status_code for url in urls] == [200, 200]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert time.monotonic() - began < 10

    assert len(children) >= 3
    assert [child for child in children if child.is_running()] == []
