"""Arrows go one way: service to library, and what serves is light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "compression" / "tieshare"
SERVICE = ROOT / "service" / "tieshare_service"
HEAVY = {"torch", "scipy", "sklearn", "skl2onnx", "matplotlib"}


def imported(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield path, node.module


def test_the_library_knows_no_http_queue_or_database() -> None:
    outside = (
        "tieshare_service",
        "fastapi",
        "starlette",
        "uvicorn",
        "sqlalchemy",
        "httpx",
        "click",
    )
    wrong = [(path, name) for path, name in imported(LIBRARY) if name.split(".")[0] in outside]
    assert wrong == []


def test_the_domain_of_the_service_knows_no_web_framework() -> None:
    wrong = [
        (path, name)
        for path, name in imported(SERVICE)
        if path.parent == SERVICE and name.split(".")[0] in ("fastapi", "starlette")
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "module",
    [
        "tieshare",
        "tieshare.graph",
        "tieshare.data",
        "tieshare.exports.shared",
        "tieshare.report",
        "tieshare_service.control.app",
        "tieshare_service.inference.app",
        "tieshare_service.client",
        "tieshare_service.cli",
        "tieshare_service.worker",
        "tieshare_service.gate_child",
    ],
)
def test_what_runs_without_the_extra_imports_nothing_of_it(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(m.split('.')[0] for m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert HEAVY.isdisjoint(done.stdout.split())
