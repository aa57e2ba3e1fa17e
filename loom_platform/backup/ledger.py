"""What must outlive a restore: the keys that were destroyed, and what the person had erased since the backup."""

import json
from pathlib import Path
from typing import Any, Final

import psycopg

from loom_platform.backup.errors import BackupError
from loom_platform.backup.snapshot import put_keys

_KEYS: Final = "SELECT to_jsonb(k) FROM device_keys k"
_ERASURES: Final = "SELECT to_jsonb(e) FROM erasures e"
_DESTROYED: Final = """
UPDATE device_keys SET key = NULL, destroyed_at = d.destroyed_at
FROM jsonb_populate_recordset(NULL::device_keys, %s::jsonb) d
WHERE device_keys.key_id = d.key_id AND d.destroyed_at IS NOT NULL AND device_keys.destroyed_at IS NULL
"""
_ADD_KEYS: Final = """
INSERT INTO device_keys SELECT * FROM jsonb_populate_recordset(NULL::device_keys, %s::jsonb) ON CONFLICT DO NOTHING
"""
_ADD_ERASURES: Final = """
INSERT INTO erasures SELECT * FROM jsonb_populate_recordset(NULL::erasures, %s::jsonb)
ON CONFLICT (id) DO UPDATE SET cleared_at = EXCLUDED.cleared_at, finished_at = EXCLUDED.finished_at,
    counts = EXCLUDED.counts, proof = EXCLUDED.proof
"""


def carry_over(connection: psycopg.Connection[Any], old_url: str, keys: Path) -> int:
    """Put the keys of the backup into the restored database, and what the one in place knows of destroyed keys and
    erasures; how many erasures that were new to it. Raises BackupError for a file that holds no keys.
    """
    try:
        kept = json.loads(keys.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BackupError(f"{keys}: cannot be read as the keys of a backup; give the file with --keys") from None
    with psycopg.connect(old_url, autocommit=True, connect_timeout=10) as old:
        known = _rows(old, "device_keys", _KEYS)
        erasures = _rows(old, "erasures", _ERASURES)
    with connection.transaction():
        put_keys(connection, kept)
        if known:
            connection.execute(_DESTROYED, (json.dumps(known),))
            connection.execute(_ADD_KEYS, (json.dumps(known),))
        before = _count(connection)
        if erasures:
            connection.execute(_ADD_ERASURES, (json.dumps(erasures),))
        return _count(connection) - before


def _rows(connection: psycopg.Connection[Any], table: str, query: str) -> list[Any]:
    there = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
    if there is None or not there[0]:
        return []
    return [row[0] for row in connection.execute(query.encode()).fetchall()]


def _count(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM erasures").fetchone()
    return int(row[0]) if row else 0
