"""``tieshare serve``: all roles on one machine, as child processes of one that keeps them alive.

``tieshare inference`` with several processes does the same for that role alone.
"""

import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from tieshare_service.errors import SettingsError
from tieshare_service.settings import Settings
from tieshare_service.supervisor import Role, Say, Supervisor
from tieshare_service.tls import Tls

_INFERENCE = {"inference_port": "inference_host", "inference_grpc_port": "inference_host"}
_ALL = {"port": "host", **_INFERENCE}


def serve(settings: Settings, *, with_worker: bool, say: Say) -> None:
    """Run the service on this machine until SIGTERM or SIGINT; all ends within ten seconds.

    Port 0 stands for any free port. Raises SettingsError where an address can't be listened on,
    StartFailed.
    """
    Tls.of(settings)
    settings = with_free_ports(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(roles(settings, with_worker), to_environ(settings), say)
    api = _url(settings, settings.host, settings.port)
    inference = _url(settings, settings.inference_host, settings.inference_port)

    def on_ready() -> None:
        say(f"control API  {api}")
        say(f"inference    {inference}")
        say(f"  over gRPC  {settings.inference_host}:{settings.inference_grpc_port}")
        say(f"data folder  {settings.data_dir.resolve()}")
        say(f"ready; next, for instance: tieshare models create MODEL.onnx --url {api}")

    with _stopped_by_signals(supervisor):
        supervisor.run(on_ready)


def serve_inference(settings: Settings, say: Say) -> None:
    """Run the processes of the inference endpoint until SIGTERM or SIGINT.

    Raises SettingsError where an address can't be listened on, StartFailed.
    """
    settings = with_free_ports(settings, _INFERENCE)
    supervisor = Supervisor(inference_roles(settings), to_environ(settings), say)
    url = _url(settings, settings.inference_host, settings.inference_port)
    with _stopped_by_signals(supervisor):
        supervisor.run(lambda: say(f"inference    {url}, {settings.inference_workers} processes"))


def roles(settings: Settings, with_worker: bool) -> list[Role]:
    """The roles, each as the ``tieshare`` command that starts it alone."""
    api = _url(settings, settings.host, settings.port)
    started = [Role("api", _command("api"), f"{api}/healthz"), *inference_roles(settings)]
    if with_worker:
        started.append(Role("worker", _command("worker")))
    return started


def inference_roles(settings: Settings) -> list[Role]:
    """As many as there are to be processes that share the port."""
    health = f"{_url(settings, settings.inference_host, settings.inference_port)}/healthz"
    if settings.inference_workers == 1:
        return [Role("inference", _command("inference"), health)]
    numbers = range(1, settings.inference_workers + 1)
    command = _command("inference", "--one-worker")
    return [Role(f"inference {number}", command, health) for number in numbers]


def _command(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tieshare_service.cli", *words, "--end-with-stdin")


def to_environ(settings: Settings) -> dict[str, str]:
    """This process's environment with every setting in it, as ``Settings.from_env`` reads it."""
    return {**os.environ, **settings.to_environ()}


def with_free_ports(settings: Settings, ports: Mapping[str, str] = _ALL) -> Settings:
    """Check that addresses can be listened on; port 0 becomes a free one.

    ``ports``: from the setting of each port to that of its host. Raises SettingsError naming the
    setting.
    """
    with ExitStack() as held:
        free: dict[str, Any] = {
            port: held.enter_context(
                _listening(getattr(settings, host), getattr(settings, port), port)
            )
            for port, host in ports.items()
        }
        return replace(settings, **free)


@contextmanager
def _listening(host: str, port: int, setting: str) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise SettingsError(
            f"can't listen on {host} port {port}: {error.strerror or error}; "
            f"choose another with --{setting.replace('_', '-')}",
            where=setting,
        ) from error
    with listener:
        yield listener.getsockname()[1]


@contextmanager
def _stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(each, lambda *_: supervisor.stop()) for each in signals]
    try:
        yield
    finally:
        for each, handler in zip(signals, before, strict=True):
            signal.signal(each, handler)


def _url(settings: Settings, host: str, port: int) -> str:
    """As a client on this machine reaches it; a wildcard address is reached at loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    scheme = "https" if settings.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
