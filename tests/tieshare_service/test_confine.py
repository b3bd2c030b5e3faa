"""What a process may still do once it is confined. Skipped where the kernel has no such means."""

import json
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

BEFORE = """
import json, os, signal, socket, subprocess, sys, threading
from pathlib import Path
from tieshare_service.confine import confine

def tried(what):
    try:
        what()
    except Exception as error:
        return type(error).__name__
    return "done"

missing = confine(Path(one) for one in sys.argv[1:])
"""


def run(code: str, *readable: str | Path) -> "subprocess.CompletedProcess[str]":
    libraries = [sys.prefix, sys.base_prefix, *filter(None, sys.path)]
    command = [sys.executable, "-c", BEFORE + code, *libraries, *map(str, readable)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@cache
def missing() -> list[str]:
    found: list[str] = json.loads(run("print(json.dumps(missing))").stdout)
    return found


@pytest.fixture
def needs(request: pytest.FixtureRequest) -> None:
    if request.param in missing():
        pytest.skip(f"this system has no {request.param}")


landlock = pytest.mark.parametrize("needs", ["Landlock"], indirect=True)
seccomp = pytest.mark.parametrize("needs", ["seccomp"], indirect=True)


@landlock
def test_only_what_is_named_can_be_read_and_nothing_written(needs: None, tmp_path: Path) -> None:
    named, other = tmp_path / "named", tmp_path / "other"
    for path in (named, other):
        path.write_text("here")
    done = run(
        f"""
named, other, new = Path({str(named)!r}), Path({str(other)!r}), Path({str(tmp_path / "new")!r})
print(tried(named.read_text), tried(other.read_text), tried(lambda: os.listdir(other.parent)))
print(tried(lambda: named.write_text("")), tried(named.unlink), tried(new.mkdir))
print(tried(lambda: open("/etc/passwd")), tried(lambda: open(f"/proc/{{os.getppid()}}/environ")))
""",
        named,
        tmp_path / "never there",
    )
    answers = done.stdout.split()
    assert answers == ["done", *["PermissionError"] * 7], done.stderr
    assert named.read_text() == "here"


@seccomp
@pytest.mark.parametrize(
    "call",
    [
        "socket.socket",
        "socket.socketpair",
        "os.fork",
        "lambda: subprocess.run(['true'])",
        "lambda: os.execv(sys.executable, ['python'])",
        "lambda: os.kill(os.getppid(), signal.SIGTERM)",
        "lambda: os.pidfd_open(os.getppid())",
    ],
)
def test_no_socket_no_process_and_nothing_done_to_another(needs: None, call: str) -> None:
    done = run(f"print(tried({call}))", "/bin", "/usr/bin")
    assert done.stdout.split() == ["PermissionError"], done.stderr


@seccomp
def test_threads_start_and_a_process_can_end_itself(needs: None) -> None:
    done = run(
        """
seen = []
thread = threading.Thread(target=seen.append, args=["ran"])
thread.start()
thread.join()
print(*seen, flush=True)
os.abort()
"""
    )
    assert done.stdout.split() == ["ran"], done.stderr
    assert done.returncode == -signal.SIGABRT


def test_where_the_system_has_no_such_means_it_says_so() -> None:
    code = """
from tieshare_service import confine as module
module.platform.machine = lambda: "abacus"
module._libc = type("None", (), {"syscall": lambda *_: -1, "prctl": lambda *_: 0})
print(module.confine([]), tried(socket.socket))
"""
    command = [sys.executable, "-c", BEFORE.replace("missing = confine", "pass  #") + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['Landlock', 'seccomp'] done"
