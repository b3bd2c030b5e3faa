"""A web server that answers what a test tells it to, over a real socket."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """``cut``: how many bytes of the body get through before the connection breaks.

    With no ``length`` the end of the connection ends the body.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: int | None = None
    length: bool = True


class Script:
    """The replies still to be given, in order, and the requests that came."""

    def __init__(self) -> None:
        self.replies: list[Reply | Callable[[Request], Reply]] = []
        self.requests: list[Request] = []
        self.url = ""

    def json(self, document: Any, status: int = 200, **headers: str) -> None:
        pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        self.replies.append(Reply(status, json.dumps(document).encode(), pairs))

    def problem(self, status: int, slug: str, **more: str) -> None:
        document = {"type": f"https://tieshare.dev/problems/{slug}", "status": status, **more}
        self.json(document, status, content_type="application/problem+json")

    def drop(self) -> None:
        """Read a request and break the connection without an answer."""
        self.replies.append(Reply(0))

    def add(self, reply: Reply) -> None:
        self.replies.append(reply)


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, body)
            script.requests.append(request)
            reply = script.replies.pop(0)
            give(self, reply(request) if callable(reply) else reply)

        def log_message(self, *_: Any) -> None:
            pass

    for method in ("GET", "POST", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield script
    server.shutdown()
    thread.join()
    server.server_close()
    assert script.replies == []


def give(handler: BaseHTTPRequestHandler, reply: Reply) -> None:
    handler.close_connection = reply.status == 0 or reply.cut is not None or not reply.length
    if reply.status == 0:
        return
    handler.send_response(reply.status)
    for name, value in reply.headers:
        handler.send_header(name, value)
    if reply.length and reply.status != 204:
        handler.send_header("Content-Length", str(len(reply.body)))
    if handler.close_connection:
        handler.send_header("Connection", "close")
    handler.end_headers()
    handler.wfile.write(reply.body[: reply.cut])
