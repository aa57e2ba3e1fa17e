"""What can be wrong with a stored body. A store that is away is a DependencyError instead: that passes."""

from loom_platform.errors import PlatformError


class BlobError(PlatformError):
    """A body cannot be used."""


class BlobUrlError(BlobError):
    """The URL of the object store is not one that Loom can use."""


class BlobMissingError(BlobError, KeyError):
    """Object storage has no such body."""

    def __str__(self) -> str:
        return str(self.args[0])


class BlobDamagedError(BlobError):
    """What is stored is not what was: torn, altered, or under another name."""


class KeyDestroyedError(BlobError):
    """The key that a body was encrypted with is gone for good, and the body with it."""
