"""What of a derived topic's records stands in its table.

A derived message is sent before its transaction commits. Whoever reads it at once may be ahead of its row, and the row
never comes when the transaction is rolled back: its stage then sends another message. So the end of the transaction is
waited for, by the lock that it holds, and a message without a row that stands is left out.
"""

from functools import cache
from typing import Any

import polars as pl
import psycopg
from psycopg import sql

from loom_models.stage import Stage
from loom_platform.stream.batch import LOCK_STAGE

_STANDING = """
SELECT message_id::text FROM {table}
JOIN unnest(%s::timestamptz[], %s::uuid[]) AS told (timestamp, message_id) USING (timestamp, message_id)
WHERE superseded_at IS NULL AND timestamp BETWEEN %s AND %s
"""


def standing(connection: psycopg.Connection[Any], stage: Stage, frame: pl.DataFrame) -> pl.DataFrame:
    """The records of `frame`, a batch of `stage`'s derived source, that are answers now.

    It waits for the transactions of the stages that sent them.
    """
    if frame.is_empty():
        return frame
    for sender in sorted(set(frame["stage"])):
        # A transaction of its own, since the connection commits by itself: it is held for no longer than it takes.
        connection.execute(LOCK_STAGE, (sender,))
    identities = frame["message_id"].to_list()
    times = frame["timestamp"]
    told = (times.to_list(), identities, times.min(), times.max())
    found = {row[0] for row in connection.execute(_query(stage.source.table.name), told).fetchall()}
    return frame if found.issuperset(identities) else frame.filter(pl.col("message_id").is_in(list(found)))


@cache
def _query(table: str) -> bytes:
    return sql.SQL(_STANDING).format(table=sql.Identifier(table)).as_bytes(None)
