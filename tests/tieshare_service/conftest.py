"""A data folder, a small network, a data set that fits it, and a control API on a real socket."""

import asyncio
import hashlib
import io
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np
import onnx
import pytest
import uvicorn
from onnx import numpy_helper, parser
from sqlalchemy import Table, delete, insert

from tieshare_service import records
from tieshare_service.access import Role
from tieshare_service.blobs import Kind, upload_key
from tieshare_service.control.app import create_app
from tieshare_service.control.services import Services
from tieshare_service.database import open_database
from tieshare_service.gate import Card, Gate
from tieshare_service.keys import Keys
from tieshare_service.settings import Settings

NETWORK = """
<ir_version: 9, opset_import: ["" : 20]>
digits (float[batch, 4] x) => (float[batch, 3] logits) {
    [hidden] hidden = Gemm<transB = 1>(x, w1, b1)
    active = Relu(hidden)
    [head] logits = Gemm<transB = 1>(active, w2, b2)
}
"""
SHAPES = {"w1": (6, 4), "b1": (6,), "w2": (3, 6), "b2": (3,)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Everything under a folder of this test; short waits."""
    return Settings(data_dir=tmp_path / "data", poll_s=0.02)


@pytest.fixture(scope="session")
def model_bytes() -> bytes:
    """An ONNX network, 4 inputs, 6 hidden units, 3 classes: 51 parameters."""
    model = parser.parse_model(NETWORK)
    random = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        values = random.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def dataset_arrays() -> dict[str, np.ndarray]:
    """60 samples for it, classes 0, 1, 2."""
    random = np.random.default_rng(1)
    x = random.normal(size=(60, 4)).astype(np.float32)
    return {"x": x, "y": np.arange(60, dtype=np.int64) % 3}


@pytest.fixture(scope="session")
def pack() -> Callable[[dict[str, Any]], bytes]:
    """Arrays to the bytes of an npz archive."""

    def packed(arrays: dict[str, Any]) -> bytes:
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    return packed


@pytest.fixture(scope="session")
def dataset_bytes(
    dataset_arrays: dict[str, np.ndarray], pack: Callable[[dict[str, Any]], bytes]
) -> bytes:
    """The npz archive of ``dataset_arrays``."""
    return pack(dataset_arrays)


@pytest.fixture(scope="session")
def front() -> list[dict[str, Any]]:
    """A front as a report has it: three points, of which the second is chosen."""
    sizes = ((1, 49_435, 0.9818), (2, 38_000, 0.9798), (3, 21_000, 0.9774))
    return [
        {
            "point": point,
            "unique_parameters": size // 4,
            "compression_ratio": 960_000 / size,
            "bytes": size,
            "packed_bytes": size // 5,
            "macs": size // 4,
            "latency_us": {"1": 15.25, "32": 58.75},
            "accuracy": accuracy,
            "chosen": point == 2,
        }
        for point, size, accuracy in sizes
    ]


@pytest.fixture
def texts(settings: Settings) -> dict[Role, str]:
    """A key of each role, made before anything starts."""
    engine = open_database(settings.database)
    keys = Keys(engine, time.time)
    made = {role: keys.create(role)[1] for role in get_args(Role)}
    engine.dispose()
    return made


Running = tuple[httpx.Client, Services]


@contextmanager
def served(settings: Settings) -> Iterator[Running]:
    app = create_app(settings)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise RuntimeError("the API did not start")
                time.sleep(0.005)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=30) as client:
                yield client, app.state.services
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], Running]]:
    """Start control APIs with settings of the test's own; they stop at its end."""
    with ExitStack() as stack:
        yield lambda settings: stack.enter_context(served(settings))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A control API for the tests that only need one, for a start and a stop take a while."""
    folder = tmp_path_factory.mktemp("shared")
    with served(Settings(data_dir=folder / "data", poll_s=0.02)) as running:
        yield running


@pytest.fixture
def running(shared: Running) -> Running:
    """The shared control API, as empty as after its first start."""
    _, services = shared
    with services.engine.begin() as connection:
        for table in reversed(records.metadata.sorted_tables):
            connection.execute(delete(table))
    shutil.rmtree(services.settings.blobs_dir, ignore_errors=True)
    return shared


@pytest.fixture
def http(running: Running) -> httpx.Client:
    """A client of that API."""
    return running[0]


@pytest.fixture
def services(running: Running) -> Services:
    """What lies behind that API."""
    return running[1]


@pytest.fixture(scope="session")
def cards(
    model_bytes: bytes, dataset_bytes: bytes, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Card]:
    """What the gate reads in the model and in the data set: once, for it takes a process each."""
    folder = tmp_path_factory.mktemp("gate")
    gate = Gate(4 << 30, 60)

    async def read() -> dict[str, Card]:
        found: dict[str, Card] = {}
        for kind, content in bodies:
            (folder / kind).write_bytes(content)
            found[kind] = await gate.read(kind, folder / kind)
        return found

    bodies: tuple[tuple[Kind, bytes], ...] = (("models", model_bytes), ("datasets", dataset_bytes))
    return asyncio.run(read())


@pytest.fixture
def uploaded(
    services: Services, model_bytes: bytes, dataset_bytes: bytes, cards: dict[str, Card]
) -> tuple[str, str]:
    """The ids of a model and a data set that fit each other, both called digits."""
    ids = "mdl_" + "m" * 20, "dat_" + "d" * 20
    uploads: tuple[tuple[Kind, str, Table, bytes], ...] = (
        ("models", ids[0], records.models, model_bytes),
        ("datasets", ids[1], records.datasets, dataset_bytes),
    )
    for kind, upload_id, table, content in uploads:
        path = services.settings.blobs_dir / upload_key(kind, upload_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        row = {"id": upload_id, "name": "digits", "bytes": len(content), "created_at": time.time()}
        row |= {"sha256": hashlib.sha256(content).hexdigest(), "card": cards[kind]}
        with services.engine.begin() as connection:
            connection.execute(insert(table).values(row))
    return ids
