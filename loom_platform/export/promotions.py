"""Which version of a stage is shown, taken over from an export where nobody has chosen one here."""

from typing import Any, Final

import psycopg

from loom_platform.export.staging import STAGED

# A platform that was only started shows the version of its code, which nobody chose: its log says 'first'.
_CHOSEN_HERE: Final = f"""
DELETE FROM {STAGED} AS s USING stage_promotion_log AS l WHERE l.stage = s.stage AND l.action <> 'first'
"""
_SAME: Final = f"""
DELETE FROM {STAGED} WHERE stage IN (
    SELECT stage FROM (SELECT stage, array_agg((version, action, promoted_at)::text ORDER BY id) AS lines
                       FROM {STAGED} GROUP BY stage) AS s
    JOIN (SELECT stage, array_agg((version, action, promoted_at)::text ORDER BY id) AS lines
          FROM stage_promotion_log GROUP BY stage) AS l USING (stage, lines))
"""
_FORGET: Final = f"DELETE FROM stage_promotion_log WHERE stage IN (SELECT stage FROM {STAGED})"
_LOG: Final = f"""
INSERT INTO stage_promotion_log (stage, version, previous, action, promoted_at)
SELECT stage, version, previous, action, promoted_at FROM {STAGED} ORDER BY id
"""
# The last line of the log is what is shown: a promotion writes both in one transaction.
_SHOW: Final = f"""
INSERT INTO stage_promotions (stage, version, promoted_at)
SELECT DISTINCT ON (stage) stage, version, promoted_at FROM {STAGED} ORDER BY stage, id DESC
ON CONFLICT (stage) DO UPDATE SET version = EXCLUDED.version, promoted_at = EXCLUDED.promoted_at
"""


def take(connection: psycopg.Connection[Any]) -> int:
    """Take over the staged lines of the log of promotions, and what they show; how many lines were new."""
    connection.execute(_CHOSEN_HERE)
    connection.execute(_SAME)
    connection.execute(_FORGET)
    taken = connection.execute(_LOG).rowcount
    connection.execute(_SHOW)
    return taken
