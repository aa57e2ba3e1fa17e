"""Which tables are a person's data, how a device and a time are found in each, and which tables stay behind and why.

Written out, so that a new table is decided upon: a test holds both lists against the live schema.
"""

from dataclasses import dataclass
from typing import Final

from loom_contracts.rollups import ROLLUPS, Rollup
from loom_contracts.table import Table
from loom_contracts.topic import Topic
from loom_contracts.topics.registry import DERIVED, LANDED
from loom_platform.days.catalogue import DATASETS
from loom_platform.days.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Exported:
    """One table in an export.

    `key` is the order of its rows, which makes two exports of the same rows the same file. `device`, `since`, `until`
    and `topics` are SQL conditions on one parameter: the devices (text[]), the times (timestamptz), the names of topics
    (text[]); None where rows have no such thing, and then no choice leaves any of them out. `topic` is the topic whose
    rows it holds, in a file for each UTC day of `timestamp`; `bodies` are its columns that refer to object storage.
    `only` is a condition that always holds; `only_asked` tables are not in an export unless they are asked for.
    `rolled_up` is the table whose roll-up it is. A day of `whole_days` is imported as a whole or not at all.
    """

    name: str
    key: tuple[str, ...]
    description: str
    device: str | None = None
    since: str | None = None
    until: str | None = None
    topics: str | None = None
    topic: Topic | None = None
    bodies: tuple[str, ...] = ()
    only: str | None = None
    only_asked: bool = False
    rolled_up: str | None = None
    whole_days: bool = False

    @property
    def table(self) -> Table | None:
        """The contract of a topic's table."""
        return None if self.topic is None else self.topic.table


def _of(topic: Topic) -> Exported:
    return Exported(
        topic.table.name,
        ("timestamp", "message_id"),
        topic.description,
        device="device_id = ANY({})",
        since="timestamp >= {}",
        until="timestamp < {}",
        topic=topic,
        bodies=tuple(c.name for c in topic.table.columns if c.name.endswith("_ref")),
    )


def _frozen(rollup: Rollup) -> Exported:
    return Exported(
        f"{rollup.view('minute')}_kept",
        ("device_id", "bucket", *(d.name for d in rollup.dimensions)),
        f"By minute, of days whose rows are gone: {rollup.topic.description}",
        device="device_id = ANY({})",
        since="bucket >= {}",
        until="bucket < {}",
        topics=f"'{rollup.topic.name}' = ANY({{}})",
        only=f"bucket < (SELECT frozen_before FROM rollup_tables WHERE table_name = '{rollup.table.name}')",
        rolled_up=rollup.table.name,
    )


def _of_days(dataset: Dataset) -> Exported:
    topics = ", ".join(f"'{t.name}'" for t in dataset.topics)
    return Exported(
        dataset.table,
        ("day", *dataset.key),
        dataset.description,
        device="device_ids && {}",
        since="day >= ({}::timestamptz AT TIME ZONE 'UTC')::date",
        until="day < ({}::timestamptz AT TIME ZONE 'UTC')",
        topics=f"ARRAY[{topics}] && {{}}" if topics else None,
        whole_days=True,
    )


AUDIT_LOG: Final = Exported(
    "audit_log",
    ("sequence",),
    "What was done to keys, devices and data, by whom; each row has the hash of the one before.",
    only_asked=True,
)
STAGE_VERSIONS: Final = Exported("stage_versions", ("stage", "version"), "Every version of every stage that ever ran.")
STAGE_PROMOTIONS: Final = Exported("stage_promotions", ("stage",), "The version of each stage that is shown.")
STAGE_PROMOTION_LOG: Final = Exported("stage_promotion_log", ("id",), "Every promotion there ever was.")
GEOREGIONS: Final = Exported("georegions", ("id",), "Places that the person saved; deleted_at is set when removed.")
OWN_PLACES: Final = Exported(
    "own_places", ("id",), "Shops and other places that the person named; deleted_at is set when removed."
)
APP_CATEGORIES: Final = Exported(
    "app_categories",
    ("pattern",),
    "Categories that the person gave to applications; deleted_at is set when taken back.",
)
ERASURES: Final = Exported(
    "erasures", ("id",), "What the person had erased: which devices and times, when, and the proof."
)

RETENTION_DROPS: Final = Exported(
    "retention_drops",
    ("table_name", "day"),
    "Days whose rows went because they had passed their retention; what was computed from them stands.",
    since="day >= ({}::timestamptz AT TIME ZONE 'UTC')::date",
    until="day < ({}::timestamptz AT TIME ZONE 'UTC')",
)

TABLES: Final[tuple[Exported, ...]] = (
    ERASURES,
    RETENTION_DROPS,
    STAGE_VERSIONS,
    STAGE_PROMOTIONS,
    STAGE_PROMOTION_LOG,
    Exported(
        "devices",
        ("device_id",),
        "Devices: what the person says of each, and when it was seen.",
        device="device_id = ANY({})",
    ),
    Exported(
        "device_activity",
        ("device_id", "topic"),
        "When each device sent to each topic first and last, and how many messages.",
        device="device_id = ANY({})",
        topics="topic = ANY({})",
    ),
    Exported(
        "client_identities",
        ("client", "identity"),
        "What clients of other makers call themselves, and which device each is.",
        device="coalesce(device_id, seen_device_id) = ANY({})",
    ),
    GEOREGIONS,
    Exported("person_time_zones", ("first_day",), "In which time zone the person says they are, by days."),
    OWN_PLACES,
    APP_CATEGORIES,
    Exported(
        "network_categories", ("network",), "What networks are to the person: home, work, public, hotspot, other."
    ),
    Exported(
        "activitywatch_buckets",
        ("device_id", "bucket_id"),
        "Buckets of ActivityWatch's watchers.",
        device="device_id = ANY({})",
    ),
    *(_of(topic) for topic in (*LANDED, *DERIVED)),
    *(_frozen(rollup) for rollup in ROLLUPS),
    Exported(
        "places_visited",
        ("day", "region_id"),
        "For each UTC day and saved place: when the person was there first and last, for how long, how many times.",
        device="device_ids && {}",
        since="day >= ({}::timestamptz AT TIME ZONE 'UTC')::date",
        until="day < ({}::timestamptz AT TIME ZONE 'UTC')",
        topics="'location.georegion.detected' = ANY({})",
    ),
    *(_of_days(dataset) for dataset in DATASETS),
    Exported(
        "processing_errors",
        ("stage", "topic", "partition", "offset"),
        "Dead letters: records that could not be processed, with the bytes as they came.",
        device="device_id = ANY({})",
        since="received_at >= {}",
        until="received_at < {}",
        topics="EXISTS (SELECT FROM unnest({}::text[]) AS n WHERE topic = n OR topic LIKE '%.' || n)",
    ),
    AUDIT_LOG,
)
"""In the order in which an import writes them."""

LEFT_BEHIND: Final[dict[str, str]] = {
    "api_keys": "a secret: keys are made anew with `loom keys create`",
    "device_keys": "a secret: bodies are decrypted in an export, and encrypted under new keys by an import",
    "homeassistant_registrations": "secrets: the app registers again",
    "learned_places": "learned again from the visits, when they are imported",
    "lookup_services": "which services this installation asks",
    "lookups": "what services answered, which is in the rows too",
    "stream_offsets": "where this installation stands in its own Kafka",
    "stream_leases": "which run of this installation holds a stage",
    "stream_timers": "what a running stage waits for",
    "stream_state": "what a running stage keeps between two batches",
    "stream_metrics": "what runs of this installation have counted",
    "stage_pauses": "whether a stage of this installation stands still",
    "timeseries_tables": "how this database keeps its tables",
    "rollup_tables": "how this database keeps its roll-ups",
    "rollup_marks": "which roll-ups of this database are to be counted anew",
    "migration_checksums": "how this database came to its schema",
    "erasure_work": "what an unfinished erasure of this installation has still to do",
    "recompute_progress": "how far a recompute of this installation has come",
    "retention_rules": "how long this installation keeps things",
    "retention_defaults": "since when this installation knows how long the contract keeps things",
    "recompute_confirmed": "what a recompute of this installation has found again",
}
"""Tables that no export holds, each with its reason. Other roll-ups are computed from the rows."""
