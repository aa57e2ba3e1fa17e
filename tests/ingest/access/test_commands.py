"""`loom keys` and `loom audit`, as a person types them, over a real database."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from loom_ingest.access.keys import digest, well_formed
from loom_platform.cli.main import app

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _environment(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("LOOM_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)
    monkeypatch.setenv("LOOM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")


def loom(*words: str, status: int = 0) -> Result:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == status, done.output + repr(done.exception)
    return done


def listed() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(loom("keys", "list", "--json").stdout)
    return found


def everything(database_url: str) -> str:
    """All that the database holds of keys and of the audit log."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT k::text FROM api_keys k UNION ALL SELECT a::text FROM audit_log a")
        return "\n".join(row[0] for row in rows)


def test_the_life_of_a_key(database_url: str) -> None:
    assert "no key yet" in loom("keys", "list").stdout
    made = loom("keys", "create", "--name", "My phone", "--device", "my-phone", "--expires", "90d")
    key = made.stdout.strip()
    # The key alone is on standard output, so KEY=$(loom keys create ..) works.
    assert well_formed(key.encode())
    assert "not shown again" in made.stderr
    (row,) = listed()
    assert (row["name"], row["scopes"], row["devices"], row["state"]) == (
        "My phone",
        ["ingest"],
        ["my-phone"],
        "active",
    )
    assert row["last_used_at"] is None
    table = loom("keys", "list").stdout
    assert f"loom_{row['key_id']}_.." in table
    assert key not in table + json.dumps(row)
    assert key[16:] not in everything(database_url)
    assert digest(key.encode()).hex() in everything(database_url)

    rotated = json.loads(loom("keys", "rotate", row["key_id"], "--overlap", "1h", "--json").stdout)
    assert (rotated["name"], rotated["devices"]) == ("My phone", ["my-phone"])
    assert rotated["expires_at"] is not None
    old, new = listed()
    assert (old["state"], old["replaced_by"]) == ("replaced", new["key_id"])
    assert "rotate that one" in loom("keys", "rotate", row["key_id"], status=1).stderr

    # Whoever pastes the whole key revokes it all the same.
    assert "within two seconds" in loom("keys", "revoke", rotated["key"]).stdout
    assert "is revoked since" in loom("keys", "revoke", new["key_id"]).stdout
    assert "is revoked" in loom("keys", "rotate", new["key_id"], status=1).stderr
    assert [r["state"] for r in listed()] == ["replaced", "revoked"]

    log = [json.loads(line) for line in loom("audit", "list", "--json").stdout.splitlines()]
    assert [entry["action"] for entry in log] == ["key.create", "key.rotate", "key.revoke"]
    assert all(entry["actor"].startswith("cli") for entry in log)
    assert "key.rotate" in loom("audit", "list").stdout


def test_nothing_is_done_in_a_dry_run(database_url: str) -> None:
    assert "would make a key" in loom("keys", "create", "--name", "x", "--dry-run").stdout
    assert everything(database_url) == ""
    key_id = json.loads(loom("keys", "create", "--name", "x", "--json").stdout)["key_id"]
    before = everything(database_url)
    assert "would make" in loom("keys", "rotate", key_id, "--dry-run").stdout
    assert "would revoke" in loom("keys", "revoke", key_id, "--dry-run").stdout
    assert everything(database_url) == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("create",), "--name"),
        (("create", "--name", " "), "256"),
        (("create", "--name", "x", "--scope", "write"), "ingest, read, admin"),
        (("create", "--name", "x", "--device", "a b"), "hyphens"),
        (("create", "--name", "x", "--expires", "soon"), "90d"),
        (("create", "--name", "x", "--expires", "0d"), "live"),
        (("create", "--name", "x", "--scope", "admin", "--device", "my-phone"), "all devices"),
        (("rotate", "aaaaaaaaaa", "--overlap", "-1h"), "90d"),
    ],
)
def test_what_is_wrong_is_named(words: tuple[str, ...], says: str) -> None:
    done = loom("keys", *words, status=2)
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert listed() == []


def test_a_key_that_is_not_there_is_named() -> None:
    for command in ("rotate", "revoke"):
        done = loom("keys", command, "aaaaaaaaaa", status=1)
        assert "there is no key 'aaaaaaaaaa'; `loom keys list` shows them" in done.stderr


def test_a_broken_log_is_named_and_its_head_can_be_kept(database_url: str) -> None:
    for name in "abc":
        loom("keys", "create", "--name", name)
    head = loom("audit", "verify").stdout.split()[-1]
    assert head.startswith("3:")
    loom("keys", "create", "--name", "d")
    loom("audit", "verify", "--head", head)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
        connection.execute("DELETE FROM audit_log WHERE sequence > 2")
        loom("audit", "verify")
        assert "row 3 is broken" in loom("audit", "verify", "--head", head, status=1).stderr
        connection.execute("UPDATE audit_log SET actor = 'cli:eve' WHERE sequence = 1")
        assert "row 1 is broken" in loom("audit", "verify", status=1).stderr
    assert "ROW:HASH" in loom("audit", "verify", "--head", "x", status=2).stderr


def test_without_a_database_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    for words in (("keys", "list"), ("audit", "verify")):
        assert "loom status" in loom(*words, status=1).stderr


def test_up_says_what_an_open_host_needs(tmp_path: Path) -> None:
    environment = os.environ | {"LOOM_HOST": "0.0.0.0", "LOOM_DATA_DIR": str(tmp_path / "data")}  # noqa: S104
    command = [sys.executable, "-m", "loom_platform.cli.main", "up"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    for word in ("LOOM_HOST=0.0.0.0", "LOOM_REQUIRE_API_KEYS=true", "loom keys create", "LOOM_HOST=127.0.0.1"):
        assert word in said
    assert not (tmp_path / "data").exists()
