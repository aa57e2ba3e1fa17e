"""What stands in the way of a backup or a restore."""

from loom_platform.errors import PlatformError


class BackupError(PlatformError):
    """A backup or a restore cannot be made; the message says why and what to do."""


class DamagedError(BackupError):
    """A backup is not what its manifest says."""
