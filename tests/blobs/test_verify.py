import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loom_models.stage import Body
from loom_platform.blobs import destroy_key
from loom_platform.blobs.verify import Problem, Verified
from loom_platform.cli.main import app
from tests.blobs import rows
from tests.blobs.conftest import Store


@pytest.fixture
def refs(store: Store) -> list[str]:
    """References of five bodies that rows have, of two devices."""
    rows.days(store.connection)
    bodies = [Body(b"%d" % n * 10, "laptop" if n == 4 else "phone", "audio", ".wav") for n in range(5)]
    with store.connection.transaction():
        found = store.blobs.within(store.connection).put_all(bodies)
        for blob, body in zip(found, bodies, strict=True):
            rows.land(store.connection, blob, body.device_id)
            rows.segment(store.connection, blob, body.device_id)
    return [blob.ref for blob in found]


def verified(store: Store, device: str | None = None) -> tuple[Verified, list[Problem]]:
    problems: list[Problem] = []
    done = store.again().verify(store.connection, device_id=device, on_problem=problems.append)
    return done, problems


def test_whole_bodies_are_counted_once(store: Store, refs: list[str]) -> None:
    assert verified(store) == (Verified(5, 50), [])
    assert verified(store, "laptop") == (Verified(1, 10), [])


def test_each_way_of_being_wrong_is_told(store: Store, refs: list[str]) -> None:
    missing, torn, swapped, good, gone = refs
    (store.root / missing).unlink()
    (store.root / torn).write_bytes((store.root / torn).read_bytes()[:-1])
    (store.root / swapped).write_bytes((store.root / good).read_bytes())
    destroy_key(store.connection, "laptop")
    done, problems = verified(store)
    assert dict(done.problems) == {"missing": 1, "damaged": 2, "destroyed": 1}
    assert {p.ref: p.state for p in problems} == {
        missing: "missing",
        torn: "damaged",
        swapped: "damaged",
        gone: "destroyed",
    }


def test_a_row_that_tells_of_another_body_is_told(store: Store, refs: list[str]) -> None:
    store.connection.execute("UPDATE device_audio_raw SET audio_size_bytes = 11 WHERE device_id = 'laptop'")
    _, problems = verified(store, "laptop")
    assert [(p.ref, p.state) for p in problems] == [(refs[4], "damaged")]


def run(store: Store, monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, Any]:
    monkeypatch.setenv("LOOM_DATABASE_URL", store.url)
    monkeypatch.setenv("LOOM_BLOB_URL", str(store.root))
    done = CliRunner().invoke(app, ["blobs", *words])
    return done.exit_code, done.stdout


def test_the_commands(store: Store, refs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(store, monkeypatch, "verify") == (0, "5 bodies, 50 B: all are whole\n")
    code, text = run(store, monkeypatch, "usage")
    assert code == 0
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["audio", "laptop", "1", "74", "B"],
        ["audio", "phone", "4", "296", "B"],
        ["all", "5", "370", "B"],
    ]
    store.connection.execute("DELETE FROM media_audio_vad_filtered")
    store.connection.execute("DELETE FROM device_audio_raw WHERE device_id = 'phone'")
    told = "5 bodies; would remove 4 without a row and 0 half written, 296 B\nnothing was changed; add --yes to do it\n"
    assert run(store, monkeypatch, "sweep", "--older-than", "0s") == (0, told)
    code, text = run(store, monkeypatch, "sweep", "--older-than", "0s", "--yes", "--json")
    assert code == 0
    assert json.loads(text) == {
        "dry_run": False, "seen": 5, "orphans": 4, "orphan_bytes": 296, "leftovers": 0, "strangers": 0,
    }  # fmt: skip
    (store.root / refs[4]).write_bytes(b"altered")
    code, text = run(store, monkeypatch, "verify", "--json")
    assert code == 1
    told_of = json.loads(text)
    assert (told_of["bodies"], told_of["problems"]) == (1, {"damaged": 1})
    assert told_of["examples"][0]["ref"] == refs[4]


def test_a_body_is_written_as_it_was_sent(
    store: Store, refs: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert run(store, monkeypatch, "get", refs[0]) == (0, "0" * 10)
    assert run(store, monkeypatch, "get", refs[1], "--out", str(tmp_path / "body")) == (0, "")
    assert (tmp_path / "body").read_bytes() == b"1" * 10
    assert run(store, monkeypatch, "get", "audio/none") == (1, "")


def test_without_a_database_a_command_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("LOOM_BLOB_URL", str(store.root))
    done = CliRunner().invoke(app, ["blobs", "verify"])
    assert done.exit_code == 1
    assert "LOOM_DATABASE_URL: cannot connect" in done.stderr
