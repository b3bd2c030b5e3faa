"""The operator's commands for keys and the audit log."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


def test_a_key_is_made_listed_and_revoked(tieshare: Run, tmp_path: Path) -> None:
    at = ("--data-dir", tmp_path / "data")
    made = tieshare("keys", "create", "--role", "infer", "--name", "phone", *at)
    assert made.exit_code == 0
    key_id, _, secret = made.stdout.strip().partition(".")
    (listed,) = json.loads(tieshare("keys", "list", "--json", *at).stdout)
    assert (listed["id"], listed["role"], listed["name"]) == (key_id, "infer", "phone")
    assert listed["revoked_at"] is None
    table = tieshare("keys", "list", *at).stdout
    assert key_id in table
    assert secret not in table
    assert tieshare("keys", "revoke", key_id, *at).exit_code == 0
    (listed,) = json.loads(tieshare("keys", "list", "--json", *at).stdout)
    assert listed["revoked_at"] >= listed["created_at"]
    told = json.loads(tieshare("audit", "--json", *at).stdout)
    assert [change["what"] for change in told] == ["create_key", "revoke_key"]
    (last,) = json.loads(tieshare("audit", "--last", 1, "--json", *at).stdout)
    assert last["of"] == key_id
    assert "revoke_key" in tieshare("audit", *at).stdout


def test_a_key_of_a_tenant_has_its_limits(tieshare: Run, tmp_path: Path) -> None:
    at = ("--data-dir", tmp_path / "data")
    most = ("--max-bytes", 1000, "--max-jobs", 2, "--max-requests", 60)
    made = tieshare("keys", "create", "--role", "submit", "--tenant", "acme-1", *most, *at)
    assert made.exit_code == 0
    (listed,) = json.loads(tieshare("keys", "list", "--json", *at).stdout)
    assert listed["tenant"] == "acme-1"
    assert [listed[f"max_{of}"] for of in ("bytes", "jobs", "requests")] == [1000, 2, 60]
    assert "acme-1" in tieshare("keys", "list", *at).stdout


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "revoke", "key_x"),
        ("keys", "create", "--role", "root"),
        ("keys", "create"),
        ("keys", "create", "--role", "infer", "--tenant", "a~b"),
        ("keys", "create", "--role", "infer", "--tenant", "-a"),
        ("keys", "create", "--role", "infer", "--max-jobs", "0"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    tieshare: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = tieshare(*words, "--data-dir", tmp_path)
    assert done.exit_code != 0
    assert "Traceback" not in done.stderr
    assert done.stderr.strip()


def test_the_key_of_the_environment_is_sent(tieshare: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    class Stop(Exception):
        pass

    def client(url: str, **options: object) -> None:
        seen.update(options)
        raise Stop

    monkeypatch.setattr("tieshare_service.cli.connection.Client", client)
    tieshare("models", "list", TIESHARE_KEY="key_x.y")
    assert seen["key"] == "key_x.y"
