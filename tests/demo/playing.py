"""A simulated day as the stages see it: each record of the broker, and the truth in forms to compare with."""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from loom_contracts.topic import Topic
from loom_platform.demo.events import DemoConfig, Event, Truth
from loom_platform.demo.truth import trips, visits
from tests.demo.score import Stretch


def records(
    events: Iterator[Event], began: datetime, config: DemoConfig, topics: Collection[Topic]
) -> Iterator[tuple[Topic, bytes]]:
    """The records of `topics` that the ingest service would write, in order."""
    for event in events:
        if event.messages[0].topic not in topics:
            continue
        request = event.request(began, config.device)
        bodies = request if isinstance(request, list) else [request]
        for message, body in zip(event.messages, bodies, strict=True):
            body.pop("sensor_type", None)
            yield message.topic, message.topic.payload.model_validate(body).model_dump_json().encode()


def true_visits(truth: Truth) -> list[Stretch]:
    """Stays with where they were."""
    return [Stretch(s.start, s.end, (s.latitude, s.longitude)) for s in visits(truth)]


def true_trips(truth: Truth) -> list[Stretch]:
    """Ways with their length in metres."""
    return [Stretch(start, end, metres) for start, end, _, metres in trips(truth)]


def true_charging(truth: Truth) -> list[Stretch]:
    """When the device hung on its charger."""
    return [Stretch(span.start, span.end) for span in truth.day.charging]


def true_app_sessions(truth: Truth) -> list[Stretch]:
    """Applications in front, with their identifiers."""
    return [Stretch(s.start, s.end, s.app) for use in truth.uses for s in use.sessions]


def found(rows: list[tuple[Any, ...]], began: datetime) -> list[Stretch]:
    """Rows of (start, end, what)."""
    return [Stretch((start - began).total_seconds(), (end - began).total_seconds(), what) for start, end, what in rows]
