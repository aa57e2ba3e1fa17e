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

    @property
    def actor(self) -> str:
        """What the audit log calls it."""
        return "anyone" if self.key_id is None else f"key:{self.key_id}"

    def has(self, *scopes: Scope) -> bool:
        """Whether it has any of `scopes`; `admin` has every one."""
        return Scope.ADMIN in self.scopes or not self.scopes.isdisjoint(scopes)

    def require(self, *scopes: Scope) -> None:
        """Return when this bearer has any of `scopes`; raises the 403."""
        if not self.has(*scopes):
            raise self.lacks(*scopes)

    def lacks(self, *scopes: Scope) -> ApiError:
        """The 403 for a bearer without any of `scopes`."""
        wanted = " or ".join(repr(scope.value) for scope in scopes)
        return ApiError(
            403,
            Code.INSUFFICIENT_SCOPE,
            f"This key has no scope {wanted}; use one that has it, or make one with `loom keys create`",
            details={"scope": [scope.value for scope in scopes]},
        )

    def require_own(self, scope: Scope, device_id: str) -> None:
        """Return when this bearer has `scope` and may use `device_id`, or has the key of that very device.

        The bearer of a device's key may see and describe what is its own. Raises the 403.
        """
        if self.devices is None:
            self.require(scope)
        self.require_devices((device_id,))

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
