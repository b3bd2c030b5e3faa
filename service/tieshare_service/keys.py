"""Keys: who holds one is known by it. Told once, kept as a hash.

    key_ID.SECRET

The id finds the row, the secret, 256 random bits, is compared with its SHA-256 in constant time.
"""

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Literal, get_args

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from tieshare_service.access import ROLES, Group, NoKey, NotAllowed, Role, TooManyRequests
from tieshare_service.database import open_database, reading
from tieshare_service.errors import NotFound, SettingsError
from tieshare_service.ids import is_id, new_id
from tieshare_service.records import from_row, keys
from tieshare_service.settings import Settings
from tieshare_service.tenants import UNLIMITED, Quotas, Scope, is_tenant

FRESH_S = 1.0
_MOST_SEEN = 10_000
_BEARER = re.compile(rb"bearer +([\x21-\x7e]{1,200}) *", re.IGNORECASE)

_log = logging.getLogger(__name__)


class NoSuchKey(NotFound):
    """No key has this id."""

    type = "key-not-found"

    def __init__(self, key_id: str) -> None:
        super().__init__("no such key", where=key_id)


@dataclass(frozen=True)
class Key:
    """One key without its secret.

    ``revoked_at``: None while it is in force; ``tenant``: "" for none; ``max_...``: see Quotas.
    """

    id: str
    role: Role
    name: str
    created_at: float
    revoked_at: float | None = None
    tenant: str = ""
    max_bytes: int | None = None
    max_jobs: int | None = None
    max_requests: int | None = None

    @cached_property
    def scope(self) -> Scope:
        """What its holder sees: an admin of no tenant sees those of all."""
        quotas = Quotas(self.max_bytes, self.max_jobs, self.max_requests)
        whole = self.role == "admin" and not self.tenant
        return Scope(self.tenant, self.id, whole, quotas)


class Keys:
    """The table of keys."""

    def __init__(self, engine: Engine, now: Callable[[], float]) -> None:
        self._engine = engine
        self._now = now

    def create(
        self, role: Role, name: str = "", tenant: str = "", quotas: Quotas = UNLIMITED
    ) -> tuple[Key, str]:
        """A new key, and the text by which its holder is known: it can't be had again.

        ValueError: no such role, or nothing that a tenant may be called.
        """
        if role not in get_args(Role):
            raise ValueError(role)
        if tenant and not is_tenant(tenant):
            raise ValueError(tenant)
        most = {f"max_{of}": value for of, value in asdict(quotas).items()}
        key = Key(new_id("key"), role, name, self._now(), tenant=tenant, **most)
        secret = secrets.token_urlsafe(32)
        row = {**asdict(key), "sha256": _digest(secret)}
        with self._engine.begin() as connection:
            connection.execute(insert(keys).values(row))
        return key, f"{key.id}.{secret}"

    def list(self) -> list[Key]:
        """All, revoked ones too, the oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(keys).order_by(keys.c.number)).mappings()
            return [from_row(Key, row) for row in rows]

    def revoke(self, key_id: str) -> None:
        """Never take it again. Raises NoSuchKey; of one that is revoked already nothing changes."""
        one = keys.c.id == key_id
        with self._engine.begin() as connection:
            if connection.scalars(select(keys.c.id).where(one)).one_or_none() is None:
                raise NoSuchKey(key_id)
            in_force = one & keys.c.revoked_at.is_(None)
            connection.execute(update(keys).where(in_force).values(revoked_at=self._now()))

    def in_force(self) -> dict[str, tuple[Key, str]]:
        """By id: each key that is not revoked, and the hash of its secret."""
        query = select(keys).where(keys.c.revoked_at.is_(None))
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        return {row["id"]: (from_row(Key, row), row["sha256"]) for row in rows}


def check_there_is_one(settings: Settings, setting: Literal["host", "inference_host"]) -> None:
    """Raise SettingsError where this address needs a key and none could get in."""
    if not settings.needs_keys(getattr(settings, setting)):
        return
    engine = open_database(settings.database)
    try:
        if not Keys(engine, time.time).in_force():
            raise SettingsError(
                "others may reach this address, so that a key is needed, and there is none yet: "
                "tieshare keys create --role admin",
                where=setting,
            )
    finally:
        engine.dispose()


@dataclass
class _Made:
    """Requests that a key has made, less those that time has given back."""

    count: float
    at: float


class Guard:
    """Lets a request pass or not. The keys are read again every second, in a thread of its own.

    While the database does not answer, those hold that were read last.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known = keys.in_force()
        self._seen: dict[bytes, Key] = {}
        self._made: dict[str, _Made] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._refresh, daemon=True, name="keys")
        self._thread.start()

    def check(self, group: Group, authorization: bytes | None) -> Key | None:
        """The key that is sent for something of this group; None where none is needed.

        Raises NoKey, NotAllowed.
        """
        if group == "open":
            return None
        key = self._seen.get(authorization) if authorization else None
        if key is None:
            key = self._find(authorization)
        if key.role not in ROLES[group]:
            needed = " or ".join(sorted(ROLES[group]))
            raise NotAllowed(f"a key with the role {key.role} may not; {needed} may", where=key.id)
        if group == "watch" and key.tenant:
            raise NotAllowed("this tells of all tenants; a tenant's key may not", where=key.id)
        return key

    def count(self, key: Key) -> None:
        """One request more of a key. As many as it may make in a minute can be had at once.

        Raises TooManyRequests.
        """
        most = key.max_requests
        if most is None:
            return
        now = time.monotonic()
        made = self._made.setdefault(key.id, _Made(0.0, now))
        made.count = max(0.0, made.count - (now - made.at) * most / 60)
        made.at = now
        if made.count + 1 > most:
            raise TooManyRequests(most, (made.count + 1 - most) * 60 / most, key.id)
        made.count += 1

    def close(self) -> None:
        """Read no more."""
        self._end.set()
        self._thread.join()

    def _find(self, authorization: bytes | None) -> Key:
        if authorization is None:
            raise NoKey("a key is needed: send  Authorization: Bearer KEY")
        seen = self._seen  # before the keys are: a revoked one is not written into a newer one
        sent = _BEARER.fullmatch(authorization)
        key_id, _, secret = sent[1].decode("ascii").partition(".") if sent else ("", "", "")
        # One that is unknown takes as long as one that is wrong.
        key, expected = self._known.get(key_id if is_id("key", key_id) else "", (None, "0" * 64))
        if not hmac.compare_digest(_digest(secret), expected) or key is None:
            raise NoKey("the key is not one that is in force")
        if len(seen) < _MOST_SEEN:
            seen[authorization] = key
        return key

    def _refresh(self) -> None:
        while not self._end.wait(FRESH_S):
            try:
                found = self._keys.in_force()
            except SQLAlchemyError:
                _log.warning("keys can't be read again; those of before hold")
                continue
            if found != self._known:
                self._known = found
                self._seen = {}


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii", "replace")).hexdigest()
