"""What must hold when all is over: the clients' own log against the tables, and the tables against each other."""

import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import httpx

from loom_contracts.topic import Topic
from loom_contracts.topics.registry import LANDED
from loom_models.flows import STAGES
from loom_models.stage import Stage
from loom_platform.blobs import open_blobs
from loom_platform.stream.api import StreamConfig, recompute
from tests.ingest.conftest import read_partitions
from tests.soak.installation import Installation, eventually
from tests.soak.load import Load

DERIVED = [stage for stage in STAGES if not stage.landing]
AGAIN_ALIKE = ("accelerometer-window", "georegion-detector")
"""Stages whose live answers are those of a recompute, whatever the order that records came in.

Not the one that listens: a chunk that comes late is heard alone until its day is computed again.
"""


@dataclass
class Verdict:
    """The counts of the table that a soak prints, and what is wrong, in words."""

    acknowledged: int = 0
    stored: int = 0
    lost: int = 0
    duplicated: int = 0
    copies_in_kafka: int = 0
    derived: int = 0
    orphans: int = 0
    changed_by_recompute: int = 0
    dead_letters: int = 0
    wrong: list[str] = field(default_factory=list)

    def must(self, true: object, why: str) -> None:
        """Note `why` when it is not so; all that is wrong is told at once."""
        if not true:
            self.wrong.append(why)


def wait_until_quiet(installation: Installation, seconds: float) -> None:
    """Until the spool is empty, every stage has read everything, and no timer is due."""
    url = str(installation.status["ingest_url"])
    eventually("the spool is empty", lambda: httpx.get(f"{url}/readyz", timeout=5).json()["state"] == "direct", seconds)

    def read() -> bool:
        done = installation.loom("lag", "--json", check=False)
        assert done.returncode == 0, done.stderr
        stages = json.loads(done.stdout)
        halted = [s["halted"] for s in stages if s["halted"]]
        assert not halted, halted
        behind = {s["stage"]: (s["messages"], s["due_timers"]) for s in stages if s["messages"] or s["due_timers"]}
        assert not behind, behind
        return True

    eventually("every stage has read everything", read, seconds)


def judge(installation: Installation, load: Load) -> Verdict:
    """Everything that can be said once it is quiet."""
    verdict = Verdict()
    verdict.must(not load.refused, f"valid messages were refused: {load.refused[:3]}")
    servers = str(installation.status["kafka_bootstrap_servers"])
    for topic in LANDED:
        _landed(installation, topic, load.acknowledged.get(topic.name, set()), servers, verdict)
    for stage in DERIVED:
        _derived(installation, stage, verdict)
    ((verdict.dead_letters,),) = installation.rows("SELECT count(*) FROM processing_errors")
    verdict.must(verdict.dead_letters == 0, f"{verdict.dead_letters} dead letters, though every message was valid")
    _commands(installation, verdict)
    return verdict


def _landed(installation: Installation, topic: Topic, acknowledged: set[str], servers: str, verdict: Verdict) -> None:
    records = read_partitions(servers, topic.name)
    in_kafka = Counter(json.loads(record.value)["message_id"] for _, record in records)
    times = dict(installation.rows(f"SELECT message_id::text, count(*) FROM {topic.table.name} GROUP BY 1"))
    lost = acknowledged - set(times)
    not_landed = set(in_kafka) - set(times)
    duplicated = sum(count - 1 for count in times.values())
    verdict.acknowledged += len(acknowledged)
    verdict.stored += len(times)
    verdict.lost += len(lost)
    verdict.duplicated += duplicated
    verdict.copies_in_kafka += sum(in_kafka.values()) - len(in_kafka)
    verdict.must(not lost, f"{topic.name}: {len(lost)} acknowledged and not stored: {sorted(lost)[:3]}")
    verdict.must(not duplicated, f"{topic.name}: {duplicated} stored twice")
    verdict.must(not not_landed, f"{topic.name}: {len(not_landed)} in Kafka and not stored: {sorted(not_landed)[:3]}")
    _offsets(installation, topic, records, verdict)


def _offsets(installation: Installation, topic: Topic, records: list[tuple[int, Any]], verdict: Verdict) -> None:
    """Every stage stands at the end of every partition: nothing was passed over and nothing is left."""
    ends = Counter(partition for partition, _ in records)
    for stage in STAGES:
        if stage.source is not topic:
            continue
        query = f"SELECT partition, next_offset FROM stream_offsets WHERE stage = '{stage.name}'"
        stands = {p: o for p, o in installation.rows(query) if o}
        verdict.must(stands == dict(ends), f"{stage.name} stands at {stands}, its topic ends at {dict(ends)}")


def _derived(installation: Installation, stage: Stage, verdict: Verdict) -> None:
    source = stage.source.table.name
    for sink in stage.sinks:
        ((rows, orphans),) = installation.rows(
            f"SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT FROM {source} r WHERE r.message_id = "
            f"d.source_message_id)) FROM {sink.table.name} d"
        )
        verdict.derived += rows
        verdict.orphans += orphans
        verdict.must(rows, f"{sink.name}: nothing was derived")
        verdict.must(not orphans, f"{sink.name}: {orphans} rows without the record that they came from")
    if stage.name in AGAIN_ALIKE:
        _computed_again(installation, stage, verdict)


def _computed_again(installation: Installation, stage: Stage, verdict: Verdict) -> None:
    """The answers that stand are those of a computation over all records in their order."""
    settings = installation.status
    config = StreamConfig(
        settings["database_url"],
        settings["kafka_bootstrap_servers"],
        run_id="soak-oracle",
        blobs=open_blobs(str(installation.data_dir / "blobs"), settings["database_url"]),
    )
    (sink,) = stage.sinks
    standing = (
        f"SELECT message_id::text FROM {sink.table.name} WHERE superseded_at IS NULL AND stage_version = "
        f"'{stage.version}'"
    )
    before = {message_id for (message_id,) in installation.rows(standing)}
    first, last = days(installation, stage.source)
    if first is None or last is None:
        return
    recompute(stage, first, last, config, on_report=lambda _: None, stop=threading.Event())
    after = {message_id for (message_id,) in installation.rows(standing)}
    verdict.changed_by_recompute += len(before ^ after)
    verdict.must(before == after, f"{stage.name}: {len(before ^ after)} of {len(after)} answers differ in a recompute")


def days(installation: Installation, topic: Topic) -> tuple[date | None, date | None]:
    """The first and the last UTC day of a topic's records; None and None where there are none."""
    ends = "min(timestamp AT TIME ZONE 'UTC')::date, max(timestamp AT TIME ZONE 'UTC')::date"
    ((first, last),) = installation.rows(f"SELECT {ends} FROM {topic.table.name}")
    return first, last


def _commands(installation: Installation, verdict: Verdict) -> None:
    """What the platform's own checks say: every body that a row names is there, whole; roll-ups equal a recount."""
    for words in (("blobs", "verify"), ("rollups", "check")):
        done = installation.loom(*words, check=False)
        verdict.must(done.returncode == 0, f"loom {' '.join(words)}: {done.stdout}{done.stderr}")
