"""Coverage-guided fuzzing of what reads bytes from strangers.

    python -m tests.fuzz TARGET [-runs=1000000] [FOLDER ...]     libFuzzer's flags, by atheris
    python -m tests.fuzz keep TARGET FOLDER      what a run left there, for the next to begin with

    model     the gate's reader of ONNX files
    dataset   its reader of npz archives
    binary    inference requests with bytes behind their JSON
    json      inference requests that are JSON alone; the fast reader must agree with the plain one
    upload    uploads in several requests: no byte is lost, none is in it twice

The inputs that reached something new are kept in corpus/TARGET.zip, and every run begins with them.
Anything that a reader raises and does not promise ends the run with the input that did it. What
was found stands in the tests of the reader.
"""

import asyncio
import hashlib
import json
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import atheris

with atheris.instrument_imports(include=["tieshare", "tieshare_service"]):
    from tieshare.data import read_npz
    from tieshare.errors import DataError, ModelError
    from tieshare.graph.read import describe, read_model
    from tieshare_service import partial
    from tieshare_service.blobs import Received, TooLarge
    from tieshare_service.inference import fast_json, wire
    from tieshare_service.inference.errors import BadBody, BadTensor
    from tieshare_service.inference.tensors import to_array
    from tieshare_service.partial import LengthMismatch, OffsetMismatch, Partials, UploadComplete

from tests import hostile

Target = Callable[[bytes], None]

CORPUS = Path(__file__).parent / "corpus"

_MEMORY = Path("/dev/shm")  # noqa: S108 - a file in memory
_LIMIT = 64  # bytes of an upload
_LOOP = asyncio.new_event_loop()


def model(data: bytes) -> None:
    """A model, or a reason why it is none."""
    with suppress(ModelError):
        describe(read_model(data))


def dataset(data: bytes) -> None:
    """Arrays, or a reason why they are none."""
    with tempfile.NamedTemporaryFile(dir=_MEMORY if _MEMORY.is_dir() else None) as file:
        file.write(data)
        file.flush()
        with suppress(DataError):
            read_npz(file.name, max_bytes=1 << 20)


def binary(data: bytes) -> None:
    """The first two bytes say how long the JSON is."""
    _read(data[2:], int.from_bytes(data[:2], "little"))


def json_alone(data: bytes) -> None:
    """What the fast reader takes, the plain one reads as the same numbers."""
    quick = _read(data, None)
    with patch.object(fast_json, "apart", lambda _: None):
        plain = _read(data, None)
    assert (quick is None) == (plain is None), (quick, plain)
    for one, other in zip(quick or (), plain or (), strict=True):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()


def _read(body: bytes, header: int | None) -> list[Any] | None:
    """The arrays of a request; None where it is refused."""
    try:
        request = wire.parse(body, header)
        return [to_array(*pair) for pair in zip(request.header.inputs, request.data, strict=True)]
    except (BadBody, BadTensor):
        return None


def upload(data: bytes) -> None:
    """Each three bytes are a request: where it begins, how much it sends, what happens to it."""
    room = tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
    with room as folder, patch.object(partial, "run_sync", _at_once):
        _LOOP.run_until_complete(_requests(data, Path(folder)))


async def _at_once(work: Callable[..., Any], *args: object) -> Any:
    """Without a thread, which would take most of the time."""
    return work(*args)


async def _requests(data: bytes, folder: Path) -> None:
    taken: list[bytes] = []

    class Catalog:
        async def take(self, received: Received, *_: object) -> object:
            content = received.path.read_bytes()
            assert hashlib.sha256(content).hexdigest() == received.sha256
            taken.append(content)
            received.path.unlink()
            return self.taken("")

        def taken(self, _: str) -> object:
            return SimpleNamespace(id="mdl_1", bytes=len(taken[0])) if taken else None

    catalogs: Mapping[Any, Any] = {"models": Catalog()}
    partials = Partials(folder, catalogs, _LIMIT, lambda: 0.0)
    place = partials.create("models", None, data[0] - 192 if data[:1] >= b"\xc0" else None, None).id
    expected = b""
    for at in range(0, len(data) - 2, 3):
        offset, size, what = data[at : at + 3]
        content = bytes(range(size % 32))
        breaks = bool(what & 2)
        try:
            await partials.append(place, offset, _body(content, breaks=breaks), last=bool(what & 1))
        except ConnectionError:
            expected += content
        except (OffsetMismatch, TooLarge):
            pass
        except UploadComplete:
            assert taken
        except LengthMismatch:
            length = partials.get(place)[0].length
            assert length is not None
            if offset == len(expected) and len(expected + content) <= length:
                expected += content
        else:
            assert offset == len(expected)
            expected += content
        assert partials.get(place)[1] == len(expected) <= _LIMIT * 4
    assert taken in ([], [expected])


async def _body(content: bytes, *, breaks: bool) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 7):
        yield content[start : start + 7]
    if breaks:
        raise ConnectionError


TARGETS: Mapping[str, Target] = {
    "model": model,
    "dataset": dataset,
    "binary": binary,
    "json": json_alone,
    "upload": upload,
}


def seeds(name: str) -> list[bytes]:
    """What a run begins with."""
    if name in ("model", "dataset"):
        cheap = (item for item in hostile.everything() if hostile.COSTLY not in item.types)
        found = [item.content for item in cheap if item.kind == f"{name}s"]
        return [hostile.digits().SerializeToString(), *(one for one in found if len(one) < 10_000)]
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2]}
    plain = json.dumps({"inputs": [{**tensor, "data": [1.5, -2]}]}).encode()
    if name == "json":
        nested = plain.replace(b"[1.5, -2]", b"[[1e3, 0]]")
        return [plain, nested, plain.replace(b"FP32", b"INT64"), plain.replace(b"FP32", b"BYTES")]
    if name == "binary":
        head = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": 8}}]}).encode()
        return [len(head).to_bytes(2, "little") + head + bytes(8)]
    return [bytes([0, 10, 0, 10, 5, 2, 15, 3, 1])]


def kept(name: str) -> list[bytes]:
    """What runs before this one have found."""
    with zipfile.ZipFile(CORPUS / f"{name}.zip") as archive:
        return [archive.read(member) for member in archive.namelist()]


def keep(name: str, folder: Path) -> None:
    """These files instead; the same files make the same archive."""
    with zipfile.ZipFile(CORPUS / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes(), zipfile.ZIP_DEFLATED)


def main() -> None:
    """Fuzz one target."""
    name, *flags = sys.argv[1:]
    if name == "keep":
        keep(flags[0], Path(flags[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate([*seeds(name), *kept(name)]):
            (Path(folder) / str(number)).write_bytes(seed)
        atheris.Setup([name, *flags, folder], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
