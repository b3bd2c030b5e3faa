"""A folder of models, an application over it, and a real server where a socket matters."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import onnx
import orjson
import pytest
import uvicorn

from tieshare_service.inference.app import App, create_app
from tieshare_service.inference.batching import Limits
from tieshare_service.inference.core import Core
from tieshare_service.inference.data_plane import DataPlane
from tieshare_service.inference.datatypes import Datatype
from tieshare_service.inference.errors import InferenceError
from tieshare_service.inference.metrics import Metrics
from tieshare_service.inference.repository import Repository
from tieshare_service.inference.server import config_of
from tieshare_service.inference.watcher import Watcher

DIGITS = """
<ir_version: 9, opset_import: ["" : 17]>
digits (float[n, 4] x) => (float[n, 2] y)
<float[4, 2] w = {0.5, -1, 2, 0.25, -0.125, 3, 1, 1.5}, float[2] b = {0.1, -0.2}>
{ y = Gemm (x, w, b) }
"""


@pytest.fixture
def digits() -> onnx.ModelProto:
    """Input x, FP32 [-1, 4]; output y, FP32 [-1, 2]."""
    return onnx.parser.parse_model(DIGITS)


@pytest.fixture
def echo() -> Callable[[Datatype], onnx.ModelProto]:
    """What comes in as x, [-1, 2] of the datatype, goes out as y."""

    def make(datatype: Datatype) -> onnx.ModelProto:
        kind = onnx.helper.np_dtype_to_tensor_dtype(datatype.dtype)
        ends = [onnx.helper.make_tensor_value_info(name, kind, ["n", 2]) for name in ("x", "y")]
        node = onnx.helper.make_node("Identity", ["x"], ["y"])
        graph = onnx.helper.make_graph([node], "echo", ends[:1], ends[1:])
        opset = [onnx.helper.make_opsetid("", 17)]
        return onnx.helper.make_model(graph, opset_imports=opset, ir_version=9)

    return make


@pytest.fixture
def rpc_address() -> str:
    """Where nothing listens yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def refusals() -> set[type[InferenceError]]:
    """All that a request can be refused for."""

    def below(kind: type[InferenceError]) -> set[type[InferenceError]]:
        found = set(kind.__subclasses__())
        return found.union(*map(below, found))

    return below(InferenceError)


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def publish(models_dir: Path) -> Callable[[str, int, onnx.ModelProto | bytes], Path]:
    """Put a version in its place by rename, as a finished job does."""

    def put(name: str, version: int, model: onnx.ModelProto | bytes) -> Path:
        content = model if isinstance(model, bytes) else model.SerializeToString()
        unfinished = models_dir / name / f".{version}.tmp"
        unfinished.mkdir(parents=True)
        (unfinished / "model.onnx").write_bytes(content)
        return unfinished.rename(models_dir / name / str(version))

    return put


@pytest.fixture
def application(models_dir: Path) -> Iterator[Callable[..., App]]:
    """The application over what the folder holds now, loaded once; no watcher runs."""
    planes = []

    def build(body_bytes: int = 1 << 20, *, sync: bool = True) -> App:
        repository = Repository(models_dir, threads=1)
        if sync:
            repository.sync()
        planes.append(DataPlane(Limits(body_bytes=body_bytes)))
        core = Core(repository, Watcher(repository, 3600), planes[-1], Metrics())
        return App(core)

    yield build
    for plane in planes:
        plane.close()


@pytest.fixture
def ask() -> Callable[..., tuple[int, dict[str, str], bytes]]:
    """One request to an application without a socket: status, headers, body."""

    def send(
        app: App,
        method: str,
        path: str,
        body: bytes | Mapping[str, Any] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def keep(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        raw = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
        scope = {"type": "http", "method": method, "path": path, "headers": raw}
        asyncio.run(app(scope, receive, keep))
        start, end = sent
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return start["status"], found, end["body"]

    return send


@contextmanager
def _running(app: App) -> Iterator[int]:
    server = uvicorn.Server(config_of(app, "127.0.0.1", 0))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def serve(models_dir: Path) -> Iterator[Callable[..., str]]:
    """Start a server over the models folder on a free port: its URL, once it is ready."""
    with ExitStack() as stack:

        def start(**options: Any) -> str:
            app = create_app(models_dir, poll_s=0.05, **options)
            url = f"http://127.0.0.1:{stack.enter_context(_running(app))}"
            while httpx.get(f"{url}/readyz").status_code != 200:
                time.sleep(0.01)
            return url

        yield start
