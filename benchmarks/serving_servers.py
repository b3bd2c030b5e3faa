"""The servers of the serving benchmark: ours, the limits and the peers."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.serving_encodings import BINARY, JSON, PLAIN, Encoding
from benchmarks.serving_models import FORMS
from benchmarks.serving_tables import EMPTY, FASTAPI, MLSERVER, OURS

_SCRIPTS = Path(__file__).parent.resolve() / "serving_peers"
_RUNTIME = f"onnxruntime=={version('onnxruntime')}"


class Unusable(Exception):
    """A server that can't be measured; the message is the reason."""


@dataclass(frozen=True)
class Server:
    """What runs, how it is asked, and what its own environment holds if it needs one.

    ``command`` follows the interpreter; {port} and {folder}, of the files, are filled in, and are
    in the environment as PEER_PORT and, for the dense file, PEER_MODEL.
    ``path`` is where samples are posted; {form} is filled in.
    """

    name: str
    command: tuple[str, ...]
    path: str
    encodings: tuple[Encoding, ...] = ()
    forms: tuple[str, ...] = ("dense",)
    packages: tuple[str, ...] = ()


def _peer(
    name: str, script: str, path: str, encodings: tuple[Encoding, ...], package: str = ""
) -> Server:
    packages = (package, _RUNTIME) if package else ()
    return Server(name, (str(_SCRIPTS / script),), path, encodings, packages=packages)


_INFER = "/v2/models/{form}/infer"
_OURS = ("-m", "tieshare_service.inference", "--models", "{folder}", "--port", "{port}")

SERVERS = (
    Server(OURS, _OURS, _INFER, (JSON, BINARY), FORMS),
    _peer(EMPTY, "nothing.py", "/", ()),
    _peer(FASTAPI, "fastapi_onnx.py", "/predict", (PLAIN,)),
)
"""Those that need no environment of their own."""

PEERS: Mapping[str, Server] = {
    "mlserver": _peer(MLSERVER, "mlserver_onnx.py", _INFER, (JSON,), "mlserver"),
    "litserve": _peer("LitServe", "litserve_onnx.py", "/predict", (PLAIN,), "litserve"),
    "bentoml": _peer("BentoML", "bentoml_onnx.py", "/predict", (PLAIN,), "bentoml"),
    "kserve": _peer("KServe", "kserve_onnx.py", _INFER, (JSON, BINARY), "kserve"),
    "ray-serve": _peer("Ray Serve", "ray_serve_onnx.py", "/", (PLAIN,), "ray[serve]"),
    "triton": _peer("Triton", "triton_onnx.py", _INFER, (JSON, BINARY), "nvidia-pytriton"),
}
"""Those that do."""
