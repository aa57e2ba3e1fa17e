"""What is to be erased: devices, times."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from psycopg import sql

from loom_platform.erasure.errors import ErasureError
from loom_platform.stream.erased import Span

_DEVICE: Final = re.compile(r"[A-Za-z0-9_-]{3,64}")
BEGINNING: Final = datetime(1, 1, 1, tzinfo=UTC)
END: Final = datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Scope:
    """`devices` empty means all. Times are event times in UTC, None is without end: `since` included, `until` not.

    `forget`: also what the platform knows of the devices themselves.
    """

    devices: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    forget: bool = False

    def check(self) -> None:
        """Raise ErasureError when this cannot be meant."""
        if not self.devices and self.since is None and self.until is None:
            raise ErasureError("nothing was asked for: give --device, --from or --to")
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ErasureError(
                f"--from {self.since:%Y-%m-%dT%H:%M:%S}: is not before --to {self.until:%Y-%m-%dT%H:%M:%S}"
            )
        for device in self.devices:
            if not _DEVICE.fullmatch(device):
                raise ErasureError(
                    f"--device {device[:80]!r}: is not a device_id: 3 to 64 letters, digits, hyphens and underscores"
                )
        if self.forget and not self.whole:
            raise ErasureError("--forget is for devices as a whole: give --device, and neither --from nor --to")

    @property
    def whole(self) -> bool:
        """Whether devices are erased from beginning to end; then their keys go too."""
        return bool(self.devices) and self.since is None and self.until is None

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """First and after-last event time, whatever was left open."""
        return self.since or BEGINNING, self.until or END

    def of_device(self, alias: str = "") -> sql.Composed:
        """The condition on `device_id`, with its values written in."""
        if not self.devices:
            return sql.SQL("{}").format(sql.SQL("true"))
        return sql.SQL("{}device_id = ANY({})").format(sql.SQL(alias), sql.Literal(list(self.devices)))

    def of_rows(self, alias: str = "") -> sql.Composed:
        """The condition on `device_id` and `timestamp`, with its values written in."""
        first, after = self.bounds
        return sql.SQL("{device} AND {a}timestamp >= {first} AND {a}timestamp < {after}").format(
            device=self.of_device(alias), a=sql.SQL(alias), first=sql.Literal(first), after=sql.Literal(after)
        )

    def told(self) -> str:
        """In words."""
        parts = [f"device {', '.join(self.devices)}" if self.devices else "all devices"]
        if self.since is not None:
            parts.append(f"from {self.since:%Y-%m-%d %H:%M:%S}")
        if self.until is not None:
            parts.append(f"to {self.until:%Y-%m-%d %H:%M:%S}")
        return ", ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """As the ledger and `--json` have it."""
        return {
            "devices": list(self.devices),
            "from": None if self.since is None else self.since.isoformat(),
            "to_before": None if self.until is None else self.until.isoformat(),
            "forget": self.forget,
        }


@dataclass(frozen=True, slots=True)
class Erasure:
    """A row of the ledger.

    Landed rows accepted up to `asked_at` go, and derived ones computed up to `cleared_at`, which is None until the
    last landed row is gone.
    """

    id: UUID
    scope: Scope
    asked_by: str
    asked_at: datetime
    cleared_at: datetime | None
    finished_at: datetime | None
    counts: Mapping[str, int]
    proof: dict[str, Any] | None

    @property
    def span(self) -> Span:
        """As the stages heed it."""
        scope = self.scope
        return Span(list(scope.devices), scope.since, scope.until, self.asked_at)

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of statements."""
        first, after = self.scope.bounds
        return {
            "id": self.id,
            "devices": list(self.scope.devices),
            "all": not self.scope.devices,
            "first": first,
            "after": after,
            "asked_at": self.asked_at,
            "cleared_at": self.cleared_at,
        }
