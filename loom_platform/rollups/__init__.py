"""Roll-ups of numeric sensors by minute and hour, right whatever happens to the rows that they are of.

Whoever writes or removes rows of a table calls `mark` (for rows that are gone for good: `forget`) in the same
transaction; the views count what is marked anew until `refresh` has brought up to date what is kept. `freeze` lets the
roll-ups of days outlive their rows: call it before the days are dropped.
"""

from loom_platform.rollups.marks import forget, forget_frozen, mark, mark_rows
from loom_platform.rollups.refreshing import Refreshed, drop_before, freeze, refresh

__all__ = ("Refreshed", "drop_before", "forget", "forget_frozen", "freeze", "mark", "mark_rows", "refresh")
