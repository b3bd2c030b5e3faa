"""Child processes kept alive: one that dies is started again.

Each death in a row doubles the pause before the next start. A role that dies three times before
all are ready ends everything: then something is wrong that no start mends.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx

from tieshare_service.errors import ServiceError

TICK_S = 0.1
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
# A role that has lived so long has not died in a row with its death before.
STABLE_S = 30.0
TRIES_TO_START = 3
# A role without a health URL that has lived so long has started.
SETTLED_S = 1.5
# From SIGTERM to SIGKILL; what is left to ten seconds is for the ends themselves.
GRACE_S = 8.0

Say = Callable[[str], None]


class StartFailed(ServiceError):
    """A role can't be started; its own output says why."""

    type = "start-failed"


@dataclass(frozen=True)
class Role:
    """One child process. ``health`` is the URL that answers once it is ready, if it has one."""

    name: str
    command: tuple[str, ...]
    health: str | None = None


class Child:
    """A role's process, and the one after it when it has died."""

    def __init__(self, role: Role, environ: Mapping[str, str], say: Say) -> None:
        self.role = role
        self.deaths = 0
        self._environ = environ
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._due = 0.0

    @property
    def pid(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process else None

    def tend(self, now: float) -> None:
        """Start what is due; note a death and set the time of the next start."""
        if self._process is None:
            if now >= self._due:
                self._start(now)
            return
        code = self._process.poll()
        if code is None:
            return
        self._forget()
        self.deaths = 1 if now - self._started > STABLE_S else self.deaths + 1
        pause = min(FIRST_PAUSE_S * 2 ** (self.deaths - 1), LONGEST_PAUSE_S)
        self._due = now + pause
        self._say(f"{self.role.name} ended ({_reason(code)}); starting it again in {pause:g} s")

    def answers(self, http: httpx.Client) -> bool:
        """Whether it is up, and its health URL says so, or its age where it has none."""
        if self._process is None or self._process.poll() is not None:
            return False
        if self.role.health is None:
            return time.monotonic() - self._started > SETTLED_S
        try:
            return http.get(self.role.health).is_success
        except httpx.TransportError:
            return False

    def ask_to_end(self) -> None:
        """Send SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for the end until ``deadline``, on the monotonic clock, then kill."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._say(f"{self.role.name} does not end; killing it")
            self._process.kill()
            self._process.wait()
        self._forget()

    def _forget(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None

    def _start(self, now: float) -> None:
        # Its own session: Ctrl-C reaches the supervisor alone, which ends all in order.
        self._process = subprocess.Popen(
            self.role.command,
            stdin=subprocess.PIPE,
            env=dict(self._environ),
            start_new_session=True,
        )
        self._started = now


class Supervisor:
    """Keeps the roles alive until it is told to stop."""

    def __init__(
        self,
        roles: Sequence[Role],
        environ: Mapping[str, str],
        say: Say,
        grace_s: float = GRACE_S,
    ) -> None:
        self.children = [Child(role, environ, say) for role in roles]
        self._grace_s = grace_s
        self._stop = threading.Event()

    def stop(self) -> None:
        """Make ``run`` end; safe in a signal handler."""
        self._stop.set()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Start all, call ``on_ready`` once when all answer, tend them until ``stop``.

        Raises StartFailed. All processes have ended when it returns or raises.
        """
        ready = False
        try:
            # A child's certificate is not for the loopback address at which it is asked.
            with httpx.Client(timeout=1.0, trust_env=False, verify=False) as http:  # noqa: S501
                while not self._stop.is_set():
                    for child in self.children:
                        child.tend(time.monotonic())
                    if not ready:
                        ready = self._ready(http)
                        if ready:
                            on_ready()
                    self._stop.wait(TICK_S)
        finally:
            self._end()

    def _ready(self, http: httpx.Client) -> bool:
        for child in self.children:
            if child.deaths >= TRIES_TO_START:
                raise StartFailed(
                    f"it ended {child.deaths} times while starting", where=child.role.name
                )
        return all(child.answers(http) for child in self.children)

    def _end(self) -> None:
        for child in self.children:
            child.ask_to_end()
        deadline = time.monotonic() + self._grace_s
        for child in self.children:
            child.end(deadline)


def _reason(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
