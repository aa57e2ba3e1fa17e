"""All topics, and how to find one by its name."""

from difflib import get_close_matches
from typing import Final

from loom_contracts.errors import ContractError
from loom_contracts.topic import Topic
from loom_contracts.topics.device import (
    ACCELEROMETER_RAW,
    ACCELEROMETER_WINDOWED,
    AUDIO_RAW,
    GENERIC_SENSORS,
    GPS_RAW,
    HEARTRATE_RAW,
    POWER_RAW,
)
from loom_contracts.topics.location import GEOREGION_DETECTED
from loom_contracts.topics.media import VAD_FILTERED

LANDED: Final[tuple[Topic, ...]] = (
    AUDIO_RAW,
    GPS_RAW,
    ACCELEROMETER_RAW,
    HEARTRATE_RAW,
    POWER_RAW,
    *GENERIC_SENSORS,
)
"""Raw topics that have a table: each has a landing stage."""

DERIVED: Final[tuple[Topic, ...]] = (ACCELEROMETER_WINDOWED, GEOREGION_DETECTED, VAD_FILTERED)
"""Topics that a stage fills and that have a table."""

TOPICS: Final[tuple[Topic, ...]] = (*LANDED, *DERIVED)
"""Every topic of Loom."""

_BY_NAME: Final = {t.name: t for t in TOPICS}


def topic_named(name: str) -> Topic:
    """The topic called `name` in the contract; raises ContractError that suggests the nearest ones."""
    try:
        return _BY_NAME[name]
    except KeyError:
        near = get_close_matches(name, _BY_NAME, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `loom topics list` shows them all"
    raise ContractError(f"there is no topic {name!r}{hint}")


def topic_on_broker(name: str, prefix: str = "") -> Topic:
    """The topic whose name on a broker with `prefix` is `name`; raises ContractError when there is none."""
    head = f"{prefix}." if prefix else ""
    if not name.startswith(head):
        raise ContractError(f"topic {name!r} does not begin with LOOM_KAFKA_TOPIC_PREFIX {prefix!r}")
    return topic_named(name.removeprefix(head))


def generic_sensor_topic(sensor_type: str) -> Topic:
    """The topic of readings of `sensor_type`; raises ContractError that lists those that exist."""
    for topic in GENERIC_SENSORS:
        if topic.parts[2] == sensor_type:
            return topic
    known = ", ".join(t.parts[2] for t in GENERIC_SENSORS)
    raise ContractError(f"there is no sensor type {sensor_type!r}; those supported are {known}")
