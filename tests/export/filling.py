"""Rows for every table that an export holds, with values that are hard to carry."""

import json
import math
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from loom_platform import rollups
from loom_platform.export.catalogue import TABLES, Exported
from loom_platform.export.columns import LiveColumn, columns_of

Connection = psycopg.Connection[Any]

FIRST = datetime(2026, 11, 19, tzinfo=UTC)
DAYS = 3
DEVICES = ("phone-001", "laptop_2")
TOPICS = tuple(t for t in TABLES if t.topic is not None)
FEW = tuple(
    t
    for t in TOPICS
    if t.name in ("device_audio_raw", "device_sensor_gps_raw", "device_sensor_humidity_raw", "media_audio_vad_filtered")
)
"""Enough where it does not matter which tables there are."""
SECRET = "do-not-export-me"
_SECRETS = f"""
INSERT INTO api_keys (key_id, name, sha256, scopes) VALUES ('abcdefghij', '{SECRET}', sha256('x'), '{{ingest}}');
INSERT INTO homeassistant_registrations (webhook_sha256, device_id, registration, secret)
VALUES (sha256('y'), 'phone-001', '{{}}', '{SECRET}');
INSERT INTO stream_state (stage, stage_version, device_id, state) VALUES ('s', '1', 'phone-001', '{SECRET}');
"""
_CONTROL = """
INSERT INTO stage_versions (stage, version, first_run_at) VALUES
    ('georegion-detector', '1', '2026-11-01Z'), ('georegion-detector', '2', '2026-11-02Z'), ('vad', '1', '2026-11-01Z');
INSERT INTO stage_promotions VALUES ('georegion-detector', '2', '2026-11-03Z'), ('vad', '1', '2026-11-01Z');
INSERT INTO stage_promotion_log (stage, version, previous, action, promoted_at) VALUES
    ('georegion-detector', '1', NULL, 'first', '2026-11-01Z'), ('vad', '1', NULL, 'first', '2026-11-01Z'),
    ('georegion-detector', '2', '1', 'promote', '2026-11-03Z');
INSERT INTO erasures (id, devices, asked_by, asked_at, cleared_at, finished_at, counts, proof) VALUES
    ('00000000-0000-4000-8000-000000000002', '{old-phone}', 'me', '2026-11-01Z', '2026-11-01Z', '2026-11-02Z',
     '{"x": 1}', '{}');
INSERT INTO retention_drops VALUES ('device_sensor_gps_raw', '2026-10-01', 7, 100, '2026-11-01Z');
INSERT INTO devices (device_id, name, tags, metadata, created_at, updated_at) VALUES
    ('phone-001', 'my phone', '["a", "b"]', '{"x": [1, null]}', '2026-11-01Z', '2026-11-02Z'),
    ('laptop_2', NULL, '[]', '{}', '2026-11-01Z', '2026-11-02Z');
INSERT INTO device_activity VALUES ('phone-001', 'device.sensor.gps.raw', '2026-11-01Z', '2026-11-02Z', 7);
INSERT INTO client_identities (client, identity, device_id, linked_at, seen_device_id) VALUES
    ('owntracks', 'user/phone', 'phone-001', '2026-11-01Z', NULL), ('traccar', '123', NULL, NULL, 'laptop_2');
INSERT INTO georegions (id, name, kind, shape, latitude, longitude, radius_m, revision, created_at, updated_at) VALUES
    ('00000000-0000-4000-8000-000000000001', 'Home', 'home', 'circle', 52.5, 13.4, 80, 41,
     '2026-11-01Z', '2026-11-02Z');
INSERT INTO own_places (id, name, category, latitude, longitude, radius_m, created_at, updated_at) VALUES
    ('00000000-0000-4000-8000-000000000003', 'Café', 'cafe', 52.5, 13.4, 40, '2026-11-01Z', '2026-11-02Z');
INSERT INTO app_categories (pattern, category, revision, updated_at) VALUES ('org.mail', 'work', 7, '2026-11-01Z');
INSERT INTO network_categories VALUES ('home', 'home', '2026-11-01Z');
INSERT INTO activitywatch_buckets (device_id, bucket_id, bucket_type, client, hostname, created_at, updated_at) VALUES
    ('laptop_2', 'aw-watcher-window_laptop', 'currentwindow', 'aw-watcher-window', 'laptop',
     '2026-11-01Z', '2026-11-02Z');
INSERT INTO places_visited (day, region_id, region_name, region_kind, first_seen_at, last_seen_at, total_seconds,
                            visits, device_ids, computed_at) VALUES
    ('2026-11-19', '00000000-0000-4000-8000-000000000001', 'Home', 'home', '2026-11-19Z', '2026-11-19 12:00Z', 60, 1,
     '{phone-001,laptop_2}', '2026-11-20Z'),
    ('2026-11-20', '00000000-0000-4000-8000-000000000001', 'Home', 'home', '2026-11-20Z', '2026-11-20 12:00Z', 60, 1,
     '{laptop_2}', '2026-11-21Z');
INSERT INTO person_time_zones VALUES ('2026-01-01', NULL, 'Europe/Zurich', '2026-11-01Z');
INSERT INTO person_days (day, time_zone, source, starts_at, ends_at, hours, device_ids) VALUES
    ('2026-11-20', 'Europe/Zurich', 'hand', '2026-11-19 23:00Z', '2026-11-20 23:00Z', 24, '{}');
INSERT INTO visits_daily (day, place_id, place_name, latitude, longitude, first_seen_at, last_seen_at, total_seconds,
                          visits, device_ids) VALUES
    ('2026-11-20', '00000000-0000-4000-8000-000000000001', NULL, 52.5, 13.4, '2026-11-20 08:00Z',
     '2026-11-20 09:00Z', 3600, 1, '{phone-001}');
INSERT INTO trips_daily (day, mode, trips, distance_m, duration_seconds, first_started_at, last_ended_at, device_ids)
    VALUES ('2026-11-20', 'walking', 1, 900, 600, '2026-11-20 09:00Z', '2026-11-20 09:10Z', '{phone-001}');
INSERT INTO activity_minutes_daily (day, activity, minutes, confidence, device_ids) VALUES
    ('2026-11-20', 'walking', 10, 0.9, '{phone-001}');
INSERT INTO app_usage_daily (day, app_identifier, app_name, app_category, total_seconds, sessions, first_used_at,
                             last_used_at, device_ids) VALUES
    ('2026-11-20', 'org.mail', NULL, 'communication', 60, 1, '2026-11-20 09:00Z', '2026-11-20 09:01Z', '{phone-001}');
INSERT INTO screen_time_daily (day, total_seconds, pickups, longest_seconds, first_on_at, last_off_at,
                               seconds_by_device, device_ids) VALUES
    ('2026-11-20', 60, 1, 60, '2026-11-20 09:00Z', '2026-11-20 09:01Z', '{"phone-001": 60.0}', '{phone-001}');
INSERT INTO charging_daily (day, device_id, sessions, charging_seconds, gained_percent, first_started_at,
                            last_ended_at, device_ids) VALUES
    ('2026-11-20', 'phone-001', 1, 60, NULL, '2026-11-20 09:00Z', '2026-11-20 09:01Z', '{phone-001}');
INSERT INTO sleep_estimate_daily (day, asleep_at, woke_at, asleep_uncertainty_seconds, woke_uncertainty_seconds,
                                  sleep_seconds, uncertainty_seconds, interruptions, confidence, evidence, device_ids)
    VALUES ('2026-11-20', '2026-11-19 22:00Z', '2026-11-20 06:00Z', 2400, 2400, 28800, 3394, 0, 0.8,
            '{}', '{phone-001}');
INSERT INTO day_timeline (day, number, started_at, ended_at, time_zone, kind, title, details, message_id, device_ids)
    VALUES ('2026-11-20', 1, '2026-11-20 08:00Z', '2026-11-20 09:00Z', 'Europe/Zurich', 'visit', 'Home', '{}',
            '00000000-0000-4000-8000-000000000003', '{phone-001}');
INSERT INTO processing_errors (stage, topic, partition, "offset", stage_version, error_type, reason, device_id, value,
                               received_at, occurred_at) VALUES
    ('georegion-detector', 'p.device.sensor.gps.raw', 0, 7, '1', 'PoisonError', 'latitude 91', 'phone-001', '\\x00ff7b',
     '2026-11-20 08:00Z', '2026-11-20 08:00Z'),
    ('silero-vad', 'p.device.audio.raw', 0, 1, '1', 'PoisonError', 'x', NULL, NULL, '2026-11-19 08:00Z', '2026-11-19Z');
INSERT INTO audit_log VALUES
    (1, '2026-11-20Z', 'cli:me', 'key.create', 'abcdefghij', 'done', '{}', sha256(''), sha256('a'));
"""

_TEXTS = ["", " ", "é漢\U0001f600", "\x01\x7f\n\r\t\\N\\.", "plain"]
_REALS = [0.0, -0.0, 0.1, 1e308, 5e-324, math.inf, -math.inf, math.nan]
_JSON: list[Any] = [{}, [], {"a": [1, None, {"b": 'q"\\\n\x01'}]}, ["x"], {"n": 10**30}]


def fill(connection: Connection, tables: tuple[Exported, ...] = TOPICS, rows: int = 4, seed: int = 7) -> None:
    """Rows in every table; of a topic's table `rows` for each device and day, from a day's first moment to its last."""
    connection.execute(_SECRETS)
    connection.execute(_CONTROL)
    dice = random.Random(seed)
    for table in tables:
        columns = columns_of(connection, table.name)
        days = (FIRST.date(), FIRST.date() + timedelta(days=DAYS - 1))
        connection.execute("SELECT loom_ensure_partitions(%s, %s, %s)", (table.name, *days))
        query = sql.SQL("INSERT INTO {} VALUES ({})").format(
            sql.Identifier(table.name), sql.SQL(", ").join([sql.Placeholder()] * len(columns))
        )
        with connection.cursor() as cursor:
            cursor.executemany(query, [[_value(c, m, d, dice) for c in columns] for m, d in _moments(rows)])
        for device in DEVICES:
            rollups.mark(connection, table.name, device, FIRST, FIRST + timedelta(days=DAYS))


def _moments(rows: int) -> list[tuple[datetime, str]]:
    last = timedelta(days=1) - timedelta(microseconds=1)
    steps = [last * n / (rows - 1) for n in range(rows)]
    return [(FIRST + timedelta(days=d) + step, device) for d in range(DAYS) for device in DEVICES for step in steps]


def _value(column: LiveColumn, moment: datetime, device: str, dice: random.Random) -> Any:
    if column.name == "timestamp":
        return moment
    if column.name == "device_id":
        return device
    if column.nullable and dice.random() < 0.3:
        return None
    if column.name.endswith("_ref"):
        return None if column.nullable else "none"
    match column.type:
        case "text":
            return dice.choice(_TEXTS)
        case "uuid":
            return UUID(int=dice.getrandbits(128))
        case "timestamp with time zone":
            return moment + timedelta(microseconds=dice.randrange(10**9))
        case "date":
            return date(2026, 11, 19)
        case "double precision":
            return dice.choice(_REALS)
        case "bigint":
            return dice.choice([0, -1, 2**63 - 1, -(2**63)])
        case "integer":
            return dice.choice([0, 2**31 - 1])
        case "boolean":
            return dice.random() < 0.5
        case "jsonb":
            return Jsonb(dice.choice(_JSON), dumps=json.dumps)
        case other:
            raise AssertionError(f"{column.name}: no value of type {other}")


def content(connection: Connection, tables: tuple[Exported, ...] = TABLES) -> dict[str, tuple[int, str | None]]:
    """How many rows each table has, and one hash over all that is in them."""
    found: dict[str, tuple[int, str | None]] = {}
    for table in tables:
        if connection.execute("SELECT to_regclass(%s)", (table.name,)).fetchone() == (None,):
            continue
        row = connection.execute(
            sql.SQL("SELECT count(*), md5(string_agg(t::text, '\n' ORDER BY t::text)) FROM {} AS t").format(
                sql.Identifier(table.name)
            )
        ).fetchone()
        assert row is not None
        found[table.name] = row
    return found
