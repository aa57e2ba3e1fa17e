"""On whose behalf a request is made: a key's scopes and devices, or anyone at an open service."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from loom_ingest.errors import ApiError, Code


class Scope(StrEnum):
    """What a key may be used for."""

    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The bearer of one key; `devices` is None for a person's key, which may send for every device of theirs."""

    key_id: str | None
    scopes: frozenset[Scope]
    devices: frozenset[str] | None = None

    def require(self, scope: Scope) -> None:
        """Return when this bearer has `scope`; `admin` has every one. Raises the 403."""
        if scope not in self.scopes and Scope.ADMIN not in self.scopes:
            raise ApiError(
                403,
                Code.INSUFFICIENT_SCOPE,
                f"This key has no scope {scope.value!r}; use one that has it, or make one with `loom keys create`",
                details={"scope": scope.value},
            )

    def require_devices(self, device_ids: Iterable[str]) -> None:
        """Return when this bearer may send for all of `device_ids`; raises the 403."""
        if self.devices is None:
            return
        for device_id in device_ids:
            if device_id not in self.devices:
                raise ApiError(
                    403,
                    Code.DEVICE_NOT_ALLOWED,
                    f"This key is not for device {device_id!r}; use that device's own key, or a person's",
                    details={"device_id": device_id},
                )


ANYONE: Final = Principal(None, frozenset(Scope))
"""Whoever calls a service that runs open."""
