"""ActivityWatch's own client library, and the service, broker and database that it is held against."""

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import requests
from aw_client import ActivityWatchClient
from aw_core.models import Event
from psycopg.rows import dict_row

from loom_contracts.topics.activity import ACTIVITYWATCH_RAW
from loom_contracts.topics.device_system import UNRECOGNIZED_RAW
from loom_models.flows import LANDING_STAGES
from loom_platform.stream.api import StreamConfig, run_stream
from loom_platform.stream.backlog import backlog
from tests.ingest.server import LiveServer, live_server

START = datetime(2024, 3, 1, 12, tzinfo=UTC)
HOSTNAME = socket.gethostname()
CLIENTS: list[ActivityWatchClient] = []
"""Those that the test made, which do not close what they open."""


@dataclass(frozen=True)
class Place:
    """Where the servers of this module keep things; `land` brings what the broker has into the tables."""

    bootstrap_servers: str
    prefix: str
    database_url: str

    @contextmanager
    def serve(self, **settings: object) -> Iterator[LiveServer]:
        known = {"kafka_topic_prefix": self.prefix, "database_url": self.database_url}
        with live_server(self.bootstrap_servers, **(known | settings)) as server:
            yield server

    def land(self) -> None:
        stages = [s for s in LANDING_STAGES if s.source in (ACTIVITYWATCH_RAW, UNRECOGNIZED_RAW)]
        config = StreamConfig(
            database_url=self.database_url,
            bootstrap_servers=self.bootstrap_servers,
            topic_prefix=self.prefix,
            idle_timeout=timedelta(seconds=0.3),
        )
        while any(lag.has_work for lag in backlog(stages, config).values()):
            summaries = run_stream(stages, config, on_report=lambda _: None, stop=threading.Event())
            assert sum(s.dead_letters for s in summaries) == 0

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            return connection.execute(query.encode(), values).fetchall()


def client_of(port: int, name: str = "aw-watcher-test", host: str = "127.0.0.1") -> ActivityWatchClient:
    client = ActivityWatchClient(name, host=host, port=port)
    client.request_queue._attempt_reconnect_interval = 1
    CLIENTS.append(client)
    return client


def new_bucket(prefix: str = "aw-watcher-window") -> str:
    return f"{prefix}_{uuid.uuid4().hex[:8]}"


def at(seconds: float, data: dict[str, Any] | None = None, duration: float = 0) -> Event:
    return Event(timestamp=START + timedelta(seconds=seconds), duration=duration, data=data or {"app": "a"})


def plain(events: list[Event]) -> list[dict[str, Any]]:
    return [event.to_json_dict() | {"id": None} for event in events]


def number(event: Event) -> int:
    assert isinstance(event.id, int)
    return event.id


def queued(client: ActivityWatchClient) -> int:
    return int(client.request_queue._persistqueue.qsize())


def status_of(call: Callable[[], object]) -> int:
    with pytest.raises(requests.HTTPError) as caught:
        call()
    response = caught.value.response
    assert response is not None
    return response.status_code
