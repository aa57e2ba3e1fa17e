"""A simulated day through the stages of its flows, held against what is true of it: F1 is 0.95 or more of each kind."""

import threading
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from loom_contracts.topics.device import GPS_RAW, POWER_RAW
from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW, SYSTEM_EVENTS_RAW
from loom_models.flows import STAGES
from loom_platform.demo.events import DemoConfig, make_day
from loom_platform.stream.api import StreamConfig, run_stream
from loom_platform.topics import create_topics
from tests.benchmarks.harness import produce
from tests.demo.finding import KINDS, scores
from tests.demo.playing import records

pytestmark = pytest.mark.integration
RAW = (GPS_RAW, POWER_RAW, APP_LIFECYCLE_RAW, SYSTEM_EVENTS_RAW)
CONFIG = DemoConfig(seconds=86_400, device="found-phone", seed=3, audio=False)


def test_what_is_found_is_what_was(database_url: str, bootstrap_servers: str, topic_prefix: str) -> None:
    began = datetime.now(UTC) - timedelta(hours=26)
    truth, events = make_day(CONFIG)
    wanted = {kind.topic for kind in KINDS.values()}
    stages = [s for s in STAGES if s.source in RAW and (s.landing or wanted & {t.name for t in s.sinks})]
    create_topics(bootstrap_servers, prefix=topic_prefix, partitions=1, stages=[s.name for s in stages])
    by_topic: dict[str, list[bytes]] = {}
    for topic, value in records(events, began, CONFIG, RAW):
        by_topic.setdefault(topic.on_broker(topic_prefix), []).append(value)
    for name, values in by_topic.items():
        produce(bootstrap_servers, name, iter(values), CONFIG.device)

    config = StreamConfig(database_url, bootstrap_servers, topic_prefix, idle_timeout=timedelta(seconds=2))
    summaries = run_stream(stages, config, on_report=lambda _: None, stop=threading.Event())

    assert sum(s.dead_letters for s in summaries) == 0
    with psycopg.connect(database_url, autocommit=True) as connection:
        told = scores(connection, [(CONFIG.device, truth)], began)
    for kind, result in told.items():
        assert result.true >= 3, kind
        assert result.f1 >= 0.95, (kind, result.missed, result.wrong)
