"""The five flows at ten times the documented rates on a platform that has been kept for two years.

Each table has a partition for each day. The rows of most of them are not made: what a batch pays for is the partitions
that it plans for and locks.
"""

from dataclasses import replace

import psycopg

from loom_platform.topics import create_topics
from tests.benchmarks import flows
from tests.benchmarks.harness import Result, Servers

DAYS, AT_ONCE = 730, 30
_MAKE = """
SELECT loom_ensure_partitions(%(table)s, d::date, d::date)
FROM generate_series(current_date - %(until)s::int, current_date - %(since)s::int, interval '1 day') d
"""


def run(servers: Servers) -> list[Result]:
    """Make the days, then live."""
    stages = list({stage.name: stage for flow in flows.FIVE for stage in flow.stages}.values())
    names = [f"bench-years-{n}" for n in range(flows.DEVICES)]
    create_topics(servers.bootstrap_servers, prefix=flows.PREFIX, partitions=2, stages=[s.name for s in stages])
    with servers.database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for table in sorted({sink.table.name for stage in stages for sink in stage.sinks}):
                for since in range(2, DAYS, AT_ONCE):
                    span = {"table": table, "since": since, "until": since + AT_ONCE - 1}
                    connection.execute(_MAKE, span)
        results = flows.live(servers, url, names)
    return [replace(result, name=f"two years of days, {result.name}") for result in results]
