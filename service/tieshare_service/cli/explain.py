"""What went wrong, as one line and an exit code: 2 where the input has to change, else 1."""

from tieshare.errors import TieshareError
from tieshare_service.cli.connection import KEY_VARIABLE
from tieshare_service.cli.failures import BadInput, Failure
from tieshare_service.client import (
    BadUrl,
    ClientError,
    Conflict,
    ConnectionFailed,
    Invalid,
    NotFound,
    Problem,
    Refused,
    TooLarge,
)
from tieshare_service.errors import ServiceError, SettingsError

MENDABLE = (TieshareError, SettingsError, BadUrl, Invalid, NotFound, Conflict, TooLarge, Refused)
EXPECTED = (TieshareError, ServiceError, ClientError, OSError)


def explain(error: Exception) -> Failure | None:
    """The line for an expected failure; None for a fault of this program."""
    if not isinstance(error, EXPECTED):
        return None
    return (BadInput if isinstance(error, MENDABLE) else Failure)(_line(error))


def _line(error: Exception) -> str:
    where = getattr(error, "where", "")
    text = str(error)
    if isinstance(error, ConnectionFailed):
        text += "; is the service running? `tieshare serve` starts one, --url names another"
    if isinstance(error, Refused):
        text += f"; commands send the key that is in {KEY_VARIABLE}"
    if isinstance(error, Problem):
        text = f"{text} [{error.type}]"
    return f"{where}: {text}" if where and where not in text else text
