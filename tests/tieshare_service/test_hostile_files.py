"""Every file of tests/hostile.py is refused in time, by name, and nothing stays of it."""

import time
from collections.abc import Callable

import httpx
import pytest
from tests.hostile import everything

from tieshare_service.control.services import Services
from tieshare_service.settings import Settings

Serve = Callable[[Settings], tuple[httpx.Client, Services]]

GATE_S = 8.0
START_S = 15.0


@pytest.mark.slow
def test_hostile_files_are_refused_and_all_goes_on(serve: Serve, settings: Settings) -> None:
    limited = Settings(data_dir=settings.data_dir, gate_seconds=GATE_S, gate_memory_bytes=2 << 30)
    http, services = serve(limited)
    wrong = []
    for item in everything():
        began = time.monotonic()
        answer = http.post(f"/v1/{item.kind}", content=item.content, timeout=120)
        took = time.monotonic() - began
        told = answer.json()
        slug = str(told.get("type", "")).rpartition("/")[2]
        if answer.status_code != 422 or slug not in item.types or took > GATE_S + START_S:
            wrong.append((item.name, answer.status_code, slug, round(took, 1)))
        assert str(settings.data_dir) not in answer.text
        assert "Traceback" not in answer.text
        assert http.get("/healthz").status_code == http.get("/readyz").status_code == 200
    assert wrong == []
    assert list(services.blobs.ids("models")) == list(services.blobs.ids("datasets")) == []
    assert list(settings.data_dir.glob("tmp/*")) == []
