"""What can go wrong with an erasure."""

from loom_platform.errors import PlatformError


class ErasureError(PlatformError):
    """What was asked for cannot be erased, or not all of it could be."""
