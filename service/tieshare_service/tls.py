"""A certificate and its key, for all that listens."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tieshare_service.errors import SettingsError
from tieshare_service.settings import Settings


@dataclass(frozen=True)
class Tls:
    """Two files in PEM; the certificate's may hold the chain up to its root."""

    certificate: Path
    key: Path

    @classmethod
    def of(cls, settings: Settings) -> "Tls | None":
        """None where none are set. Raises SettingsError where they can't be used."""
        if not settings.tls_certificate:
            return None
        found = cls(Path(settings.tls_certificate), Path(settings.tls_key))
        for setting, path in (("tls_certificate", found.certificate), ("tls_key", found.key)):
            if not path.is_file():
                raise SettingsError(f"there is no file {path}", where=setting)
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                found.certificate, found.key, password=""
            )
        except (ssl.SSLError, OSError) as error:
            why = getattr(error, "reason", None) or "they can't be read"
            raise SettingsError(
                f"not a certificate and its key without a password, in PEM: {why}",
                where="tls_certificate",
            ) from error
        return found


def for_uvicorn(tls: Tls | None) -> dict[str, Any]:
    """Its options, none where there is no certificate."""
    return {} if tls is None else {"ssl_certfile": tls.certificate, "ssl_keyfile": tls.key}
