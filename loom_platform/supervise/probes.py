"""When a service counts as ready: it does what others need of it, not merely that its process is there.

A probe takes the time at which the process was started (seconds since the epoch) and answers now, within about
two seconds.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loom_platform.embedded.kafka import Kafka

Probe = Callable[[float], bool]

HEARTBEAT_EXPIRES = timedelta(minutes=3)


def database_probe(url: str) -> Probe:
    """`select 1`."""

    def probe(_: float) -> bool:
        from loom_platform.database import database_answers

        return database_answers(url)

    return probe


def database_server_probe(url: str) -> Probe:
    """Its server answers `select 1`, though the database itself may not be there yet."""

    def probe(_: float) -> bool:
        from psycopg.conninfo import make_conninfo

        from loom_platform.database import database_answers

        return any(database_answers(u) for u in (make_conninfo(url, dbname="postgres"), url))

    return probe


def kafka_probe(bootstrap_servers: str, embedded: "Kafka | None") -> Probe:
    """The cluster tells its metadata; the embedded one must be this installation's own."""

    def probe(_: float) -> bool:
        from loom_platform.embedded.kafka import broker_answers

        return broker_answers(bootstrap_servers) if embedded is None else embedded.answers()

    return probe


def http_probe(url: str) -> Probe:
    """GET answers 200."""

    def probe(_: float) -> bool:
        import httpx

        try:
            return httpx.get(url, timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    return probe


def code_server_probe(port: int) -> Probe:
    """The gRPC health service says that Dagster's API serves, which it does once the definitions are loaded."""

    def probe(_: float) -> bool:
        import grpc  # type: ignore[import-untyped]
        from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]
        from grpc_health.v1.health_pb2_grpc import HealthStub  # type: ignore[import-untyped]

        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
            try:
                answer = HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="DagsterApi"), timeout=2)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    return probe


def daemon_probe(dagster_database_url: str) -> Probe:
    """The daemon has written a heartbeat since it was started, and lately."""

    def probe(started: float) -> bool:
        import psycopg

        try:
            with psycopg.connect(dagster_database_url, connect_timeout=2) as connection:
                row = connection.execute("select max(timestamp) from daemon_heartbeats").fetchone()
        except psycopg.Error:
            return False
        if row is None or row[0] is None:
            return False
        oldest = max(datetime.fromtimestamp(started, UTC), datetime.now(UTC) - HEARTBEAT_EXPIRES)
        return bool(row[0].replace(tzinfo=UTC) >= oldest)

    return probe
