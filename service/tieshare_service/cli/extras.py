"""What is missing where only the base package is installed."""

from importlib.util import find_spec

from tieshare_service.cli.failures import BadInput
from tieshare_service.cli.lazy import load

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


def require_tracing() -> None:
    """Raise SettingsError with what to install where requests can't be traced."""
    load("tieshare_service.inference.tracing:Tracing")
