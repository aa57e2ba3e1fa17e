"""Erasing what a device sent, or what was sensed in some time: everything that came of it, everywhere, with a proof.

`run.erase` does it, `reapply.reapply` does it again after a restore or an import. Its ledger is the table `erasures`.
"""

from loom_platform.erasure.reapply import reapply

__all__ = ("reapply",)
