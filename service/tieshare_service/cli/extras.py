"""What has to be there before a role starts: packages, and a key."""

from importlib.util import find_spec

from tieshare_service.cli.failures import BadInput
from tieshare_service.cli.lazy import load
from tieshare_service.settings import Settings

NEEDED = ("torch", "scipy", "sklearn", "matplotlib")


def missing() -> list[str]:
    """The packages that compression needs and that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def hint() -> str:
    """One line on what is missing and how to get it."""
    return (
        f"compression needs {', '.join(missing())}: "
        "install them with  pip install 'tieshare[compress]'"
    )


def require_compress() -> None:
    """Raise BadInput with what to install where compression can't run."""
    if missing():
        raise BadInput(hint())


def require_key(settings: Settings, *hosts: str) -> None:
    """Raise SettingsError where an address needs a key and there is none."""
    for host in hosts:
        if settings.needs_keys(getattr(settings, host)):
            load("tieshare_service.keys:check_there_is_one")(settings, host)


def require_tracing() -> None:
    """Raise SettingsError with what to install where requests can't be traced."""
    load("tieshare_service.inference.tracing:Tracing")
