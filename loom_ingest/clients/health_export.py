"""Health Auto Export for iOS: what Apple Health has, as its REST API automations send it.

Format: https://github.com/Lybron/health-auto-export/wiki/API-Export---JSON-Format and the app's help, "REST API". Every
entry of a metric goes to `device.health.metric.raw`, whole; pulse and steps go to their own topics besides. The app
sends the same days again and again: the same entry has the same `message_id` each time.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from pydantic_core import from_json

from loom_contracts.topics.device import HEARTRATE_RAW, STEPS_RAW
from loom_contracts.topics.phone import HEALTH_METRIC_RAW
from loom_ingest.accept import context_of, services_of
from loom_ingest.clients.anybody import text_of
from loom_ingest.clients.health_workouts import workout_drafts
from loom_ingest.clients.large import large_bodies
from loom_ingest.clients.loose import label, moment, number, present, storable
from loom_ingest.clients.operation import client_operation
from loom_ingest.clients.taking import Draft, take_many, unrecognized_pieces
from loom_ingest.route import IngestRoute

CLIENT: Final = "health_auto_export"
router = APIRouter(tags=["clients"], route_class=IngestRoute)

_DAY: Final = 86_400.0
_INTERVALS: Final = {"second": 1.0, "minute": 60.0, "hour": 3_600.0, "day": _DAY, "week": 604_800.0}
"""Seconds by the `automation-aggregation` header; months and years have no fixed length."""
_PULSE_UNITS: Final = frozenset({"", "bpm", "count/min", "beats/min", "count/minute"})


class HealthExportAnswer(BaseModel):
    """All of it is stored; `records` are the messages it made."""

    status: Literal["success"]
    records: int


_EXAMPLE: Final = {
    "data": {
        "metrics": [
            {
                "name": "heart_rate",
                "units": "count/min",
                "data": [
                    {"date": "2026-01-15 08:30:00 +0100", "Min": 64, "Avg": 72.5, "Max": 88, "source": "Jan's Watch"}
                ],
            },
            {"name": "step_count", "units": "count", "data": [{"date": "2026-01-15 08:30:00 +0100", "qty": 412}]},
        ],
        "workouts": [
            {
                "id": "6F0C1D1E-8A7B-4F7E-9D6A-0B1C2D3E4F50",
                "name": "Outdoor Run",
                "start": "2026-01-15 09:30:00 +0100",
                "end": "2026-01-15 10:02:00 +0100",
                "duration": 1892.4,
                "distance": {"qty": 5.21, "units": "km"},
            }
        ],
    }
}
_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "data": {
            "type": "object",
            "properties": {
                "metrics": {"type": "array", "items": {"type": "object"}},
                "workouts": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
    "required": ["data"],
}
_QUERY: Final = {
    "device_id": "The device; without it, the name of the automation.",
    "token": "The API key, where it is not sent as a header.",
}


@router.post("/api/data", **client_operation(_SCHEMA, _EXAMPLE, HealthExportAnswer, query=_QUERY))
async def health_export(request: Request) -> Response:
    """Take an export of Health Auto Export; what cannot be read is kept on `device.unrecognized.raw`."""
    services, principal = services_of(request), context_of(request).principal
    identity = (
        label(request.query_params.get("device_id"))
        or label(request.headers.get("automation-name"))
        or label(request.headers.get("automation-id"))
        or CLIENT
    )
    device_id = services.identities.device_of(CLIENT, identity, principal)
    interval = aggregation_seconds(request.headers.get("automation-aggregation"))
    async with large_bodies(request).read(request, services.settings.max_import_body_bytes) as body:
        try:
            drafts = export_drafts(from_json(body), interval, datetime.now(UTC))
        except ValueError as error:
            text = text_of(body)
            drafts = iter(unrecognized_pieces(CLIENT, f"not JSON: {error}", text) if text else [])
        records = await take_many(request, CLIENT, [device_id], ((device_id, draft) for draft in drafts))
    return Response(f'{{"status":"success","records":{records}}}', media_type="application/json")


def aggregation_seconds(header: str | None) -> float | None:
    """Length of the stretch that an entry stands for, by the header; None where it says none of a fixed length."""
    return _INTERVALS.get((header or "").strip().lower().removesuffix("s"))


def export_drafts(export: Any, interval: float | None, now: datetime) -> Iterator[Draft]:
    """Every draft of an export."""
    data = export.get("data") if isinstance(export, dict) else None
    if not isinstance(data, dict):
        data = export if isinstance(export, dict) and ("metrics" in export or "workouts" in export) else None
    if data is None:
        yield from _kept("no export: it has no data", export)
        return
    beside = {name: value for name, value in export.items() if value is not data}
    if data is not export and beside:
        yield from _kept("no part of an export", beside)
    for name, section in data.items():
        if not isinstance(section, list):
            yield from _kept(f"section {name[:64]} is no list", {name: section})
            continue
        for entry in section:
            if not isinstance(entry, dict):
                yield from _kept(f"an entry of {name[:64]} is no object", {name: entry})
            elif name == "metrics":
                yield from _metric(entry, interval, now)
            elif name == "workouts":
                yield from workout_drafts(CLIENT, entry)
            else:
                yield from _event(name, entry)


def _kept(reason: str, body: Any) -> list[Draft]:
    return unrecognized_pieces(CLIENT, reason, body)


def _metric(metric: dict[str, Any], interval: float | None, now: datetime) -> Iterator[Draft]:
    """The entries of one metric."""
    name, units, entries = label(metric.get("name")), metric.get("units"), metric.get("data")
    known = {"name", "units", "data"}
    if name is None or not isinstance(entries, list) or (units and label(units) is None) or metric.keys() - known:
        yield from _kept("a metric of another shape", metric)
        return
    unit = label(units)
    for entry in entries:
        # As it came, were it alone.
        source = {"name": name, "units": units, "data": [entry]}
        times = _times(entry, interval) if isinstance(entry, dict) else None
        if times is None:
            yield from _kept(f"an entry of {name} without a time that can be read", source)
            continue
        yield from _measurements(name, unit, entry, times, source)
        kind = re.sub(r"[\s-]+", "_", name.lower())
        if kind == "heart_rate":
            yield from _pulse(entry, unit, times[0], source)
        elif kind == "step_count":
            yield from _steps(entry, *times, now, source)


_STARTS: Final = ("sleepStart", "inBedStart", "startDate", "start", "date", "timestamp", "scheduledDate")
_ENDS: Final = ("sleepEnd", "inBedEnd", "endDate", "end")


def _times(entry: dict[str, Any], interval: float | None) -> tuple[datetime, float | None] | None:
    """When an entry begins, and how many seconds it stands for."""
    start = next((found for name in _STARTS if (found := moment(entry.get(name))) is not None), None)
    if start is None:
        return None
    end = next((found for name in _ENDS if (found := moment(entry.get(name))) is not None), None)
    if end is not None and end >= start:
        return start, (end - start).total_seconds()
    return start, interval


_EXTREMES: Final = (("minimum", ("Min", "min")), ("average", ("Avg", "avg")), ("maximum", ("Max", "max")))


def _measurements(
    name: str, unit: str | None, entry: dict[str, Any], times: tuple[datetime, float | None], source: Any
) -> Iterator[Draft]:
    """The records of one entry: one, or one for each value of a blood pressure."""
    start, interval = times
    left = dict(entry)
    fields: dict[str, Any] = {"timestamp": start, "unit": unit, "interval_seconds": interval}
    for ours, names in _EXTREMES:
        for theirs in names:
            if (value := number(left.get(theirs))) is not None and ours not in fields:
                fields[ours] = value
                left.pop(theirs)
    if isinstance(entry.get("source"), str):
        fields["source"] = storable(left.pop("source")) or None
    if moment(left.get("date")) == start:
        left.pop("date")
    values = {part: number(left.get(part)) for part in ("systolic", "diastolic")}
    if None not in values.values():
        for part in values:
            left.pop(part)
        for part, value in values.items():
            each = fields | {"metric": f"{name}_{part}"[:256], "value": value, "attributes": storable(left)}
            yield Draft(HEALTH_METRIC_RAW, present(each), source)
        return
    value = number(left.get("qty"))
    if value is not None:
        left.pop("qty")
    else:
        value = fields.get("average")
    each = fields | {"metric": name, "value": value, "attributes": storable(left)}
    yield Draft(HEALTH_METRIC_RAW, present(each), source)


def _pulse(entry: dict[str, Any], unit: str | None, start: datetime, source: Any) -> Iterator[Draft]:
    """The mean pulse, where it is one of a living person; the metric has it in any case."""
    value = next((v for name in ("Avg", "avg", "qty") if (v := number(entry.get(name))) is not None), None)
    if value is not None and 30 <= round(value) <= 250 and (unit or "").lower() in _PULSE_UNITS:
        yield Draft(HEARTRATE_RAW, {"timestamp": start, "bpm": round(value)}, source)


def _steps(
    entry: dict[str, Any], start: datetime, interval: float | None, now: datetime, source: Any
) -> Iterator[Draft]:
    """The steps of a stretch of up to a day that is over; of others there is only the metric."""
    value = number(entry.get("qty"), 0.0, 2.0**53)
    if value is None or (interval or 0.0) > _DAY or start > now:
        return
    end = start + timedelta(seconds=interval or 0.0)
    if end <= now:
        yield Draft(STEPS_RAW, present({"timestamp": end, "steps": round(value), "interval_seconds": interval}), source)


_VALUES: Final = ("qty", "valence", "dosage", "averageHeartRate", "threshold")


def _event(section: str, entry: dict[str, Any]) -> Iterator[Draft]:
    """An entry of another section: a state of mind, a symptom, a medication, an ECG, a notification."""
    times = _times(entry, None)
    metric = label(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", section).lower())
    if times is None or metric is None:
        yield from _kept(f"an entry of {section[:64]} without a time that can be read", {section: [entry]})
        return
    left = dict(entry)
    fields: dict[str, Any] = {"timestamp": times[0], "metric": metric, "interval_seconds": times[1]}
    fields["value"] = next((v for name in _VALUES if (v := number(entry.get(name))) is not None), None)
    if isinstance(entry.get("source"), str):
        fields["source"] = storable(left.pop("source")) or None
    yield Draft(HEALTH_METRIC_RAW, present(fields | {"attributes": storable(left)}), {section: [entry]})
