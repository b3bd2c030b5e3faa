"""Every request that a server is measured with, and the answer that it must get."""

import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.http_load import Request
from benchmarks.serving_encodings import Encoding
from benchmarks.serving_models import Array, Served
from benchmarks.serving_servers import Server, Unusable
from benchmarks.serving_tables import NO_WAY, Way


@dataclass(frozen=True)
class Asked:
    """One request, with how to read its answer and what that must be if it holds numbers."""

    form: str
    way: Way
    request: Request
    encoding: Encoding | None = None
    expected: Array | None = None

    def check(self) -> None:
        """Raises Unusable where the answer is not ONNX Runtime's."""
        answer = ask(self.request)
        if self.encoding is None or self.expected is None:
            return
        got = self.encoding.decode(answer, self.expected.size)
        if not np.array_equal(got, self.expected.ravel()):
            raise Unusable(f"{self.form}, {self.way}: the answer is not ONNX Runtime's")


def asked(
    server: Server, port: int, files: Mapping[str, Served], batches: Sequence[int]
) -> Iterator[Asked]:
    """Every request that a server is measured with."""
    if not server.encodings:
        yield Asked("dense", NO_WAY, Request(port, "GET", server.path))
    for form in server.forms:
        path, served = server.path.format(form=form), files[form]
        for batch in batches:
            x = served.samples(batch)
            y = served.answer(x)
            for encoding in server.encodings:
                request = Request(port, "POST", path, *encoding.encode(served.input, x))
                yield Asked(form, Way(encoding.name, batch), request, encoding, y)


def ask(request: Request) -> bytes:
    """The answer; raises OSError where there is none or it is an error."""
    url = f"http://127.0.0.1:{request.port}{request.path}"
    asked = urllib.request.Request(
        url, request.body or None, dict(request.headers), method=request.method
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return bytes(answer.read())
