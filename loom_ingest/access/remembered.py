"""The keys in a file beside the spool, so that a service that starts without its database knows them.

It holds what the table holds, hashes and no keys, is readable by its owner alone, and is as old as the last change that
the service saw.
"""

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from loom_ingest.access.principal import Scope
from loom_ingest.access.register import KeyRow

FILE: Final = "keys.json"
_MOMENTS: Final = ("created_at", "expires_at", "revoked_at")


def write_keys(directory: Path, rows: Iterable[KeyRow]) -> None:
    """Put `rows` in place of what was there, in one step; raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    building = directory / f".{FILE}.{os.getpid()}"
    descriptor = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump([_item(row) for row in rows], file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    building.replace(directory / FILE)


def read_keys(directory: Path) -> list[KeyRow] | None:
    """What was written last; None when there is nothing that can be used."""
    try:
        items = json.loads((directory / FILE).read_text())
        return [_row(item) for item in items]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _item(row: KeyRow) -> dict[str, Any]:
    moments = {name: None if (at := getattr(row, name)) is None else at.timestamp() for name in _MOMENTS}
    return {
        "key_id": row.key_id,
        "name": row.name,
        "sha256": row.sha256.hex(),
        "scopes": row.scopes,
        "devices": row.devices,
        **moments,
    }


def _row(item: dict[str, Any]) -> KeyRow:
    moments: dict[str, Any] = {
        name: None if item[name] is None else datetime.fromtimestamp(item[name], UTC) for name in _MOMENTS
    }
    return KeyRow(
        item["key_id"],
        item["name"],
        bytes.fromhex(item["sha256"]),
        [Scope(scope).value for scope in item["scopes"]],
        None if item["devices"] is None else list(item["devices"]),
        last_used_at=None,
        replaced_by=None,
        **moments,
    )
