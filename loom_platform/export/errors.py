"""What can stand in the way of an export or an import."""

from loom_platform.errors import PlatformError


class ExportError(PlatformError):
    """The export cannot be written; what is there can be gone on with or removed, as the message says."""


class DamagedError(PlatformError):
    """A file of an export is not the one that was written; the message names it and both checksums."""


class ImportDataError(PlatformError):
    """An export cannot be read into this platform."""
