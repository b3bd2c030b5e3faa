"""What the command loads, and how it fails."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("torch", "sklearn", "scipy", "onnx", "onnxruntime", "numpy", "sqlalchemy", "fastapi")


def loaded_by(*words: str) -> set[str]:
    """The modules of a new process after ``tieshare WORDS``."""
    code = (
        "import sys\n"
        "from tieshare_service.cli import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
    )
    probe = f"import atexit, sys\natexit.register(lambda: print('\\n', *sys.modules))\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", probe, *words], capture_output=True, text=True, check=False
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("jobs", "list", "--url", "http://127.0.0.1:9"),
        ("models", "list", "--url", "http://127.0.0.1:9"),
        ("serve", "--help"),
        ("compress", "--help"),
        ("front", "--help"),
    ],
)
def test_a_command_loads_only_what_it_needs(words: tuple[str, ...]) -> None:
    assert loaded_by(*words) & set(HEAVY) == set()


def test_the_help_of_all_loads_not_even_the_client() -> None:
    assert loaded_by("--help") & {"httpx", "rich"} == set()


def test_every_command_in_the_table_is_there(tieshare: Any) -> None:
    roles = ("serve", "api", "worker", "inference")
    for name in ("compress", *roles, "models", "datasets", "jobs", "front"):
        assert tieshare(name, "--help").exit_code == 0
        assert f"  {name}" in tieshare("--help").output


def test_the_version_is_that_of_the_package(tieshare: Any) -> None:
    assert tieshare("--version").output.startswith("tieshare, version ")


def test_an_unknown_command_is_an_error_of_use(tieshare: Any) -> None:
    assert tieshare("comprass").exit_code == 2


def test_a_service_that_is_not_there_is_one_clear_line(tieshare: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    began = time.monotonic()
    done = tieshare("jobs", "list", TIESHARE_URL=f"http://127.0.0.1:{port}")

    assert done.exit_code == 1
    assert time.monotonic() - began < 3
    assert len(done.stderr.splitlines()) == 1
    assert f"no answer from http://127.0.0.1:{port}" in done.stderr
    assert "tieshare serve" in done.stderr


def test_a_url_that_is_none_is_bad_input(tieshare: Any) -> None:
    done = tieshare("models", "list", "--url", "localhost:8000")

    assert done.exit_code == 2
    assert done.stderr == (
        "Error: 'localhost:8000' is not an address such as http://127.0.0.1:8000\n"
    )


def test_a_setting_that_cannot_be_read_is_named(tieshare: Any) -> None:
    done = tieshare("serve", TIESHARE_PORT="eighty")

    assert done.exit_code == 2
    assert "TIESHARE_PORT" in done.stderr


def test_a_flag_wins_over_the_environment(tieshare: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = tieshare("serve", "--port", port, TIESHARE_PORT="80")

    assert done.exit_code == 2
    assert f"127.0.0.1 port {port}: Address already in use" in done.stderr


@pytest.mark.parametrize(
    "command",
    [("worker",), ("compress", __file__, "--data", __file__, "--out", "never")],
    ids=lambda words: words[0],
)
def test_without_the_extra_the_command_says_what_to_install(
    tieshare: Any,
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    done = tieshare(*command)

    assert done.exit_code == 2
    assert "compression needs torch" in done.stderr
    assert "pip install 'tieshare[compress]'" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["serve", "inference"])
@pytest.mark.parametrize("flag", [True, False], ids=["flag", "environment"])
def test_without_the_extra_a_service_that_is_to_trace_does_not_start(
    tieshare: Any, command: str, flag: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.delitem(sys.modules, "tieshare_service.inference.tracing", raising=False)
    flags, environ = (["--tracing"], {}) if flag else ([], {"TIESHARE_TRACING": "1"})
    done = tieshare(command, *flags, **environ)

    assert done.exit_code == 2
    assert done.stderr == (
        "Error: tracing: traces need OpenTelemetry: "
        "install it with  pip install 'tieshare[tracing]'\n"
    )
    assert list(tmp_path.iterdir()) == []
