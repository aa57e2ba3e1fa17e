"""The links are part of the contract, since the ingest service explains rows too."""

from loom_contracts.lineage import HEARD, LINKS, Link

__all__ = ["HEARD", "LINKS", "Link"]
