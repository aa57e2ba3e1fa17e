"""The links are part of the contract, since the ingest service explains rows too."""

from loom_contracts.lineage import LINKS, Link

__all__ = ["LINKS", "Link"]
