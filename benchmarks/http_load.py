"""HTTP load over keep-alive connections: ``wrk`` where it is installed, else a loop of our own."""

import json
import select
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_WRK_SCRIPT = """
local file = io.open("%s", "rb")
local request_body = file:read("*all")
file:close()
function request() return wrk.format("%s", "%s", {%s}, request_body) end
function done(summary, latency, requests)
  io.write(string.format(
    '\\n{"requests": %%d, "us": %%d, "p50": %%d, "p99": %%d, "errors": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    summary.errors.status + summary.errors.connect + summary.errors.read
    + summary.errors.write + summary.errors.timeout))
end
"""


@dataclass(frozen=True)
class Request:
    """One request, sent over and over; ``port`` of 127.0.0.1."""

    port: int
    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def raw(self) -> bytes:
        """As it goes over the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


@dataclass(frozen=True)
class Figures:
    """Answers a second, and percentiles of the time to an answer in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float


def generator() -> str:
    """Which one ``load`` uses here."""
    return "wrk" if shutil.which("wrk") else "benchmarks.http_load"


def load(request: Request, connections: int, seconds: float) -> Figures:
    """Keep every connection busy; raises RuntimeError where an answer is not 200."""
    if shutil.which("wrk"):
        return _wrk(request, connections, seconds)
    return _loop(request, connections, seconds)


def _wrk(request: Request, connections: int, seconds: float) -> Figures:
    headers = ", ".join(f'["{name}"]="{value}"' for name, value in request.headers)
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder, "body"), Path(folder, "load.lua")
        body.write_bytes(request.body)
        script.write_text(_WRK_SCRIPT % (body, request.method, request.path, headers))
        url = f"http://127.0.0.1:{request.port}"
        sizes = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
        done = subprocess.run(
            ["wrk", *sizes, "-s", str(script), url], capture_output=True, text=True, check=True
        )
    found = json.loads(done.stdout.splitlines()[-1])
    if found["errors"]:
        raise RuntimeError(f"{request.path}: {found['errors']} answers were errors")
    return Figures(found["requests"] / found["us"] * 1e6, found["p50"] / 1000, found["p99"] / 1000)


def _loop(request: Request, connections: int, seconds: float) -> Figures:
    """One thread over epoll; an answer's size is that of the first one, and must stay so."""
    raw = request.raw()
    sockets = {}
    poll = select.epoll()
    for _ in range(connections):
        one = socket.create_connection(("127.0.0.1", request.port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[one.fileno()] = one
        poll.register(one.fileno(), select.EPOLLIN)
    size = _answer_size(next(iter(sockets.values())), raw, request.path)
    sent, missing, times = {}, {}, []
    for number, one in sockets.items():
        sent[number], missing[number] = time.perf_counter(), size
        one.sendall(raw)
    started = time.perf_counter()
    now = started
    while now - started < seconds:
        for number, _ in poll.poll(1.0):
            data = sockets[number].recv(1 << 16)
            if not data or (missing[number] == size and not data.startswith(b"HTTP/1.1 200 ")):
                raise RuntimeError(f"{request.path}: {data[:200]!r}")
            missing[number] -= len(data)
            if missing[number]:
                continue
            now = time.perf_counter()
            times.append(now - sent[number])
            sent[number], missing[number] = now, size
            sockets[number].sendall(raw)
        now = time.perf_counter()
    for one in sockets.values():
        one.close()
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return Figures(len(times) / (now - started), float(p50), float(p99))


def _answer_size(one: socket.socket, raw: bytes, path: str) -> int:
    """Bytes of one whole answer, head and body."""
    one.sendall(raw)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += one.recv(1 << 16)
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"{path}: {answer[:200]!r}")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    length = int(fields[b"content-length"])
    while len(body) < length:
        body += one.recv(1 << 16)
    return len(head) + 4 + length
