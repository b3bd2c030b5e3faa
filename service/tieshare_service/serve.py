"""``tieshare serve``: all roles on one machine, as child processes of one that keeps them alive."""

import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace

from tieshare_service.errors import SettingsError
from tieshare_service.settings import PREFIX, Settings
from tieshare_service.supervisor import Role, Say, Supervisor


def serve(settings: Settings, *, with_worker: bool, say: Say) -> None:
    """Run the service on this machine until SIGTERM or SIGINT; all ends within ten seconds.

    Port 0 stands for any free port. Raises SettingsError where an address can't be listened on,
    StartFailed.
    """
    settings = with_free_ports(settings)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(roles(settings, with_worker), to_environ(settings), say)
    api = _url(settings.host, settings.port)
    inference = _url(settings.inference_host, settings.inference_port)

    def on_ready() -> None:
        say(f"control API  {api}")
        say(f"inference    {inference}")
        say(f"  over gRPC  {settings.inference_host}:{settings.inference_grpc_port}")
        say(f"data folder  {settings.data_dir.resolve()}")
        say(f"ready; next, for instance: tieshare models create MODEL.onnx --url {api}")

    with _stopped_by_signals(supervisor):
        supervisor.run(on_ready)


def roles(settings: Settings, with_worker: bool) -> list[Role]:
    """The roles, each as the ``tieshare`` command that starts it alone."""

    def command(name: str) -> tuple[str, ...]:
        return (sys.executable, "-m", "tieshare_service.cli", name, "--end-with-stdin")

    api = _url(settings.host, settings.port)
    inference = _url(settings.inference_host, settings.inference_port)
    started = [
        Role("api", command("api"), f"{api}/healthz"),
        Role("inference", command("inference"), f"{inference}/healthz"),
    ]
    if with_worker:
        started.append(Role("worker", command("worker")))
    return started


def to_environ(settings: Settings) -> dict[str, str]:
    """This process's environment with every setting in it, as ``Settings.from_env`` reads it."""
    given = {
        PREFIX + item.name.upper(): str(getattr(settings, item.name)) for item in fields(settings)
    }
    return {**os.environ, **given}


def with_free_ports(settings: Settings) -> Settings:
    """Check that all addresses can be listened on; port 0 becomes a free one.

    Raises SettingsError naming the setting.
    """
    with ExitStack() as held:
        port = held.enter_context(_listening(settings.host, settings.port, "port"))
        inference_port = held.enter_context(
            _listening(settings.inference_host, settings.inference_port, "inference_port")
        )
        grpc_port = held.enter_context(
            _listening(settings.inference_host, settings.inference_grpc_port, "inference_grpc_port")
        )
        return replace(
            settings, port=port, inference_port=inference_port, inference_grpc_port=grpc_port
        )


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


def _url(host: str, port: int) -> str:
    """As a client on this machine reaches it; a wildcard address is reached at loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
