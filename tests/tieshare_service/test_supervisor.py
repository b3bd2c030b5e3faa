"""The supervisor, on small stand-ins for the roles."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import psutil
import pytest

from tieshare_service.supervisor import Role, StartFailed, Supervisor

WEB = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""


def python(name: str, code: str, *arguments: str, health: str | None = None) -> Role:
    return Role(name, (sys.executable, "-c", code, *arguments), health)


def web() -> Role:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return python("web", WEB, str(port), health=f"http://127.0.0.1:{port}/")


def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def supervised(
    *started: Role, grace_s: float = 5.0
) -> Iterator[tuple[Supervisor, list[str], threading.Thread]]:
    said: list[str] = []
    supervisor = Supervisor(started, os.environ, said.append, grace_s)
    thread = threading.Thread(target=supervisor.run, args=(lambda: said.append("ready"),))
    thread.start()
    try:
        until(lambda: "ready" in said)
        yield supervisor, said, thread
    finally:
        supervisor.stop()
        thread.join(15)


def test_it_is_ready_once_the_health_of_all_answers() -> None:
    role = web()
    with supervised(role) as (_, said, _thread):
        assert httpx.get(str(role.health)).status_code == 204

    assert said == ["ready"]


def test_a_role_that_was_killed_comes_back_and_the_others_stay() -> None:
    first, second = web(), web()
    with supervised(first, second) as (supervisor, said, _):
        killed, other = (child.pid for child in supervisor.children)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        until(lambda: supervisor.children[0].pid not in (killed, None))
        with httpx.Client() as http:
            until(lambda: supervisor.children[0].answers(http))

        assert supervisor.children[1].pid == other
    assert said == ["ready", "web ended (SIGKILL); starting it again in 0.5 s"]


def test_each_death_in_a_row_doubles_the_pause() -> None:
    said: list[str] = []
    child = Supervisor([python("dead", "raise SystemExit(3)")], os.environ, said.append).children[0]
    for start in range(9):
        child.tend(31.0 * start)
        until(lambda: gone(child.pid or 0))
        child.tend(31.0 * start)

    assert said[0] == "dead ended (exit code 3); starting it again in 0.5 s"
    pauses = [float(line.split()[-2]) for line in said]
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def gone(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True


def test_a_role_that_lived_long_starts_the_count_again() -> None:
    said: list[str] = []
    role = python("web", "import time; time.sleep(60)")
    child = Supervisor([role], os.environ, said.append).children[0]
    for now in (0.0, 100.0, 200.0):
        child.tend(now)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        until(lambda: gone(child.pid or 0))
        child.tend(now + 31.0)

    assert said == 3 * ["web ended (SIGKILL); starting it again in 0.5 s"]


def test_a_role_that_never_starts_ends_all() -> None:
    good, bad = web(), python("bad", "raise SystemExit(1)")
    said: list[str] = []
    supervisor = Supervisor([good, bad], os.environ, said.append)
    with pytest.raises(StartFailed, match="bad: it ended 3 times"):
        supervisor.run(lambda: said.append("ready"))

    assert "ready" not in said
    with pytest.raises(httpx.ConnectError):
        httpx.get(str(good.health))


def test_a_role_that_ignores_the_request_to_end_is_killed() -> None:
    with supervised(web(), python("stubborn", STUBBORN), grace_s=0.5) as (supervisor, said, _):
        pids = [child.pid or 0 for child in supervisor.children]
        time.sleep(0.5)
        began = time.monotonic()

    assert time.monotonic() - began < 5
    assert said[-1] == "stubborn does not end; killing it"
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


def test_a_child_does_not_outlive_a_parent_that_was_killed() -> None:
    child = (
        "import time; from tieshare_service.lifeline import end_with_stdin\n"
        "end_with_stdin(); time.sleep(60)"
    )
    parent = (
        "import subprocess, sys, time\n"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE)\n"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        time.sleep(0.3)
        assert psutil.pid_exists(pid)
        process.kill()

    until(lambda: gone(pid), 5.0)
