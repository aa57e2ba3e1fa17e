"""The base error of this package."""


class PlatformError(Exception):
    """Something about this installation stands in the way; the message says what, and what to do."""


class SettingsError(PlatformError):
    """A `LOOM_` variable has a value that cannot be used."""


class ServiceError(PlatformError):
    """A service did not start, did not become ready, or did not stop."""
