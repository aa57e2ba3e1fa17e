"""What can go wrong with the spool."""

from loom_ingest.errors import BrokerUnavailableError, IngestError


class SpoolError(IngestError):
    """The spool's directory cannot be used."""


class SpoolFullError(BrokerUnavailableError):
    """The broker is away or behind, and the spool has no room for the record."""


class SpoolFailedError(BrokerUnavailableError):
    """The broker is away or behind, and the disk refused to keep the record."""
