"""Keys, who they let in, and the log of what was changed."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError

from tieshare_service.access import NoKey, NotAllowed, Role
from tieshare_service.audit import Audit
from tieshare_service.database import open_database
from tieshare_service.errors import SettingsError
from tieshare_service.keys import Guard, Keys, NoSuchKey, check_there_is_one
from tieshare_service.records import keys as table
from tieshare_service.settings import Settings

WAIT_S = 10.0


@pytest.fixture
def engine(database: Path | str) -> Iterator[Engine]:
    opened = open_database(database)
    yield opened
    opened.dispose()


@pytest.fixture
def keys(engine: Engine) -> Keys:
    return Keys(engine, lambda: 12.5)


@pytest.fixture
def guarded(keys: Keys) -> Iterator[Callable[[], Guard]]:
    """A guard of the keys that there are by then."""
    made = []

    def start() -> Guard:
        made.append(Guard(keys))
        return made[-1]

    yield start
    for guard in made:
        guard.close()


def bearer(text: str) -> bytes:
    return f"Bearer {text}".encode()


def in_time(holds: Callable[[], bool]) -> bool:
    give_up_at = time.monotonic() + WAIT_S
    while time.monotonic() < give_up_at:
        if holds():
            return True
        time.sleep(0.05)
    return False


def lets_in(guard: Guard, authorization: bytes) -> bool:
    try:
        guard.check("use", authorization)
    except NoKey:
        return False
    return True


def test_a_key_is_told_once_and_kept_as_a_hash(engine: Engine, keys: Keys) -> None:
    key, text = keys.create("submit", "ci")
    assert (key.role, key.name, key.created_at, key.revoked_at) == ("submit", "ci", 12.5, None)
    key_id, _, secret = text.partition(".")
    assert key_id == key.id
    assert len(secret) >= 43  # 256 bits
    with engine.begin() as connection:
        row = connection.execute(select(table)).mappings().one()
    assert secret not in str(dict(row))
    assert keys.list() == [key]


def test_no_two_keys_are_alike(keys: Keys) -> None:
    (one, first), (other, second) = keys.create("infer"), keys.create("infer")
    assert one.id != other.id
    assert first.partition(".")[2] != second.partition(".")[2]


@pytest.mark.parametrize(
    ("role", "may"),
    [("infer", {"use"}), ("submit", {"use", "work"}), ("admin", {"use", "work", "manage"})],
)
def test_a_role_may_what_the_table_says(
    keys: Keys, guarded: Callable[[], Guard], role: Role, may: set[str]
) -> None:
    key, text = keys.create(role)
    guard = guarded()
    for group in ("use", "work", "manage"):
        if group in may:
            assert guard.check(group, bearer(text)) == key
        else:
            with pytest.raises(NotAllowed, match=role) as caught:
                guard.check(group, bearer(text))
            assert caught.value.where == key.id


def test_what_is_open_needs_no_key(guarded: Callable[[], Guard]) -> None:
    assert guarded().check("open", None) is None
    assert guarded().check("open", b"Bearer nonsense") is None


def test_a_wrong_key_is_not_told_from_an_unknown_one(
    keys: Keys, guarded: Callable[[], Guard]
) -> None:
    key, text = keys.create("admin")
    unknown = text.replace(key.id, "key_" + "a" * 20)
    guard = guarded()
    told = set()
    for sent in (text[:-1], text + "x", key.id, f"{key.id}.", "." + text, unknown, "\u00fc", ""):
        with pytest.raises(NoKey) as caught:
            guard.check("use", f"Bearer {sent}".encode("latin-1"))
        told.add(str(caught.value))
        assert text not in str(caught.value)
    assert len(told) == 1


@pytest.mark.parametrize("form", ["Basic {}", "{}", "Bearer{}", "Bearer {} {}", "Bearer {}\n"])
def test_another_form_of_the_header_lets_no_one_in(
    keys: Keys, guarded: Callable[[], Guard], form: str
) -> None:
    _, text = keys.create("admin")
    with pytest.raises(NoKey):
        guarded().check("use", form.format(text, text).encode())


def test_the_scheme_may_be_written_in_any_case(keys: Keys, guarded: Callable[[], Guard]) -> None:
    key, text = keys.create("infer")
    assert guarded().check("use", f"bEARER  {text}".encode()) == key


def test_no_header_is_told_what_to_send(guarded: Callable[[], Guard]) -> None:
    with pytest.raises(NoKey, match="Authorization: Bearer KEY"):
        guarded().check("use", None)


def test_new_keys_are_in_force_and_revoked_ones_are_not_soon_after(
    keys: Keys, guarded: Callable[[], Guard]
) -> None:
    guard = guarded()
    key, text = keys.create("infer")
    assert in_time(lambda: lets_in(guard, bearer(text)))
    keys.revoke(key.id)
    assert in_time(lambda: not lets_in(guard, bearer(text)))
    assert not lets_in(guarded(), bearer(text))
    assert [one.revoked_at for one in keys.list()] == [12.5]


def test_revoking_twice_keeps_the_first_time(engine: Engine) -> None:
    times = iter([1.0, 2.0, 3.0])
    keys = Keys(engine, lambda: next(times))
    key, _ = keys.create("infer")
    keys.revoke(key.id)
    keys.revoke(key.id)
    assert [one.revoked_at for one in keys.list()] == [2.0]
    with pytest.raises(NoSuchKey):
        keys.revoke("key_" + "a" * 20)


def test_while_the_database_does_not_answer_the_keys_of_before_hold(
    keys: Keys, guarded: Callable[[], Guard], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text = keys.create("infer")
    guard = guarded()
    asked = []

    def fail() -> dict[str, object]:
        asked.append(1)
        raise OperationalError("", {}, Exception("gone"))

    monkeypatch.setattr(keys, "in_force", fail)
    assert in_time(lambda: bool(asked))
    assert lets_in(guard, bearer(text))


def test_an_address_that_others_reach_needs_a_key_that_is_in_force(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", host="0.0.0.0")
    check_there_is_one(settings, "inference_host")  # a loopback address
    with pytest.raises(SettingsError, match="tieshare keys create") as caught:
        check_there_is_one(settings, "host")
    assert caught.value.where == "host"
    engine = open_database(settings.database)
    keys = Keys(engine, time.time)
    key, _ = keys.create("admin")
    check_there_is_one(settings, "host")
    keys.revoke(key.id)
    with pytest.raises(SettingsError):
        check_there_is_one(settings, "host")
    engine.dispose()


@pytest.mark.parametrize(
    ("host", "needed"),
    [
        ("127.0.0.1", False),
        ("127.8.9.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.7", True),
        ("example.org", True),
        ("", True),
    ],
)
def test_only_a_loopback_address_needs_no_key(host: str, needed: bool) -> None:
    assert Settings().needs_keys(host) is needed
    assert Settings(require_keys=True).needs_keys(host)


def test_the_audit_log_keeps_the_order(engine: Engine) -> None:
    times = iter([1.0, 2.0, 3.0])
    audit = Audit(engine, lambda: next(times))
    for number in range(3):
        audit.note(None if number == 0 else "key_x", "create_model", f"/v1/models/{number}")
    told = [(change.at, change.key_id, change.of) for change in audit.last(2)]
    assert told == [(2.0, "key_x", "/v1/models/1"), (3.0, "key_x", "/v1/models/2")]


def test_a_change_that_can_t_be_noted_is_in_the_process_s_log(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    engine = open_database(tmp_path / "t.db")
    audit = Audit(engine, time.time)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE changes")
    audit.note("key_x", "delete_model", "mdl_y")
    assert "key_x, delete_model of mdl_y" in caplog.text
    engine.dispose()
