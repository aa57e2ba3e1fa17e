"""The events of a planned day in order of time, and what is true of it. Nothing here sends anything.

Times are seconds from the beginning of the day; `Event.request` gives the HTTP request for a day that begins at a
certain moment. The same seed and beginning give the same messages, their ids included.
"""

import heapq
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np

from loom_contracts.topic import Topic
from loom_contracts.topics.device import (
    ACCELEROMETER_RAW,
    AUDIO_RAW,
    GENERIC_SENSORS,
    GPS_RAW,
    HEARTRATE_RAW,
    POWER_RAW,
)
from loom_platform.demo import senses, signals, speech
from loom_platform.demo.day import Day, Span, Stay, plan_day
from loom_platform.demo.networks import Connection, plan_connections
from loom_platform.demo.phone import Use, plan_uses
from loom_platform.demo.tracks import read_tracks

BURST_S: Final = 10.0
"""Length of a burst of accelerometer samples when they are not taken all the time."""

_SLOW_S: Final = 60.0
_FULL_S: Final = 10.0
_FAST_SENSORS: Final = ("gyroscope", "magnetometer")


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """What a day is made from.

    `rate` is the share of the specification's full rate: at 1 the accelerometer and the microphone never pause, and
    all sensors together make 65 events a second. `batch` is how many accelerometer samples go in one request.
    `chunk_ms` is the length of an audio chunk; None means 1000, or 100 at full rate.
    """

    seconds: float = 3_600.0
    rate: float = 0.05
    device: str = "demo-phone"
    seed: int = 1
    batch: int = 50
    chunk_ms: int | None = None
    audio: bool = True
    gps_folder: Path | None = None
    speech_folder: Path | None = None

    @property
    def full(self) -> bool:
        """Whether the sensors never pause."""
        return self.rate >= 1.0

    @property
    def chunk_seconds(self) -> float:
        """Length of an audio chunk."""
        return (self.chunk_ms or (100 if self.full else 1_000)) / 1_000


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its topic, when it was sensed, a random number of 128 bits, and its payload."""

    topic: Topic
    at: float
    number: int
    payload: Mapping[str, Any]

    def message_id(self, began: datetime) -> UUID:
        """Its id on a day that began then: another day has other ids, a retry has the same."""
        return UUID(int=self.number ^ _mask(began), version=4)

    def timestamp(self, began: datetime) -> str:
        """When it was sensed on a day that began then, ISO 8601 in UTC."""
        return senses.moment(began, self.at)


@dataclass(frozen=True, slots=True)
class Event:
    """One request to the API at `at`: a single message, or a batch of them."""

    at: float
    path: str
    messages: tuple[Message, ...]

    def request(self, began: datetime, device: str) -> Any:
        """The JSON body for a day that began at `began`."""
        bodies = [_body(m, began, device) for m in self.messages]
        if self.path != "/sensor/batch":
            return bodies[0]
        return [{"sensor_type": m.topic.parts[2], **body} for m, body in zip(self.messages, bodies, strict=True)]


@dataclass(frozen=True, slots=True)
class Spoken:
    """An utterance that the microphone heard from `start` to `end`; `text` where it is known."""

    start: float
    end: float
    name: str
    text: str | None


@dataclass
class Truth:
    """What is true of the day. `spoken` and `bursts` grow as the events are made; the plan is there at once."""

    day: Day
    stays: tuple[Stay, ...] = ()
    uses: tuple[Use, ...] = ()
    connections: tuple[Connection, ...] = ()
    spoken: list[Spoken] = field(default_factory=list)
    bursts: list[Span] = field(default_factory=list)


def make_day(config: DemoConfig) -> tuple[Truth, Iterator[Event]]:
    """The plan of a day and its events in order of time; reads the files of the tracks and of the utterances."""
    tracks = read_tracks(config.gps_folder) if config.gps_folder is not None and config.gps_folder.is_dir() else ()
    day = plan_day(config.seconds, tracks, _rng(config, "plan"))
    stays, uses = day.stays(), plan_uses(day, _rng(config, "uses"))
    truth = Truth(day, stays, uses, plan_connections(day, stays))
    streams = [
        _positions(truth.day, config),
        _accelerations(truth, config),
        _pulses(truth.day, config),
        _power(truth.day, config),
        *(_readings(truth.day, topic, config) for topic in GENERIC_SENSORS),
        _sensed(senses.applications(day, uses), config, "apps"),
        _sensed(senses.system(day, uses), config, "system"),
        _sensed(senses.usage_stats(day, uses), config, "usage"),
        _sensed(senses.wifi(day, truth.connections, _rng(config, "wifi")), config, "wifi ids"),
        _sensed(senses.bluetooth(day, truth.connections, _rng(config, "bluetooth")), config, "bluetooth ids"),
    ]
    if config.audio:
        streams.append(_audio(truth, speech.utterances(config.speech_folder, _rng(config, "voices")), config))
    return truth, heapq.merge(*streams, key=lambda e: e.at)


def _rng(config: DemoConfig, name: str) -> random.Random:
    # Each stream has its own, so that one does not change when another does.
    return random.Random(f"{config.seed}/{config.device}/{name}")  # noqa: S311


def _single(topic: Topic, path: str, at: float, rng: random.Random, payload: Mapping[str, Any]) -> Event:
    return Event(at, path, (Message(topic, at, _identity(rng), payload),))


def _identity(rng: random.Random) -> int:
    return rng.getrandbits(128)


@lru_cache(maxsize=8)
def _mask(began: datetime) -> int:
    return random.Random(began.isoformat()).getrandbits(128)  # noqa: S311


def _positions(day: Day, config: DemoConfig) -> Iterator[Event]:
    """Every 10 s on the way, every minute at rest; a fix lies a moment after the full second."""
    rng = _rng(config, "gps")
    at = rng.uniform(0.1, 0.9)
    while at < day.seconds:
        yield _single(GPS_RAW, "/sensor/gps", at, rng, signals.fix(day, at, rng))
        pause = _FULL_S if config.full or day.activity_at(at).moving else _SLOW_S
        # A trip that begins within the pause is not slept through.
        at = min(at + pause, max(day.activity_at(at).end, at + _FULL_S))


def _accelerations(truth: Truth, config: DemoConfig) -> Iterator[Event]:
    """50 Hz in bursts of 10 s, whose share of the time is the rate."""
    rng = _rng(config, "accelerometer")
    day, step = truth.day, 1 / signals.ACCELEROMETER_HZ
    period = BURST_S / min(config.rate, 1.0)
    begin = 0.0
    while begin < day.seconds:
        count = round(min(BURST_S, day.seconds - begin) * signals.ACCELEROMETER_HZ)
        if count:
            samples = signals.acceleration(day.activity_at(begin).kind, begin, count, rng).tolist()
            truth.bursts.append(Span(begin, begin + count * step))
            messages = [
                Message(ACCELEROMETER_RAW, begin + i * step, _identity(rng), {"x": x, "y": y, "z": z})
                for i, (x, y, z) in enumerate(samples)
            ]
            yield from _requests(messages, config.batch)
        begin += period


def _requests(messages: Sequence[Message], batch: int) -> Iterator[Event]:
    if batch == 1:
        yield from (Event(m.at, "/sensor/accelerometer", (m,)) for m in messages)
        return
    for first in range(0, len(messages), batch):
        part = tuple(messages[first : first + batch])
        yield Event(part[-1].at, "/sensor/batch", part)


def _pulses(day: Day, config: DemoConfig) -> Iterator[Event]:
    rng = _rng(config, "heartrate")
    for at in _every(day, _FULL_S if config.full else _SLOW_S, rng):
        bpm, confidence = signals.pulse(day.activity_at(at), at, rng)
        yield _single(HEARTRATE_RAW, "/sensor/heartrate", at, rng, {"bpm": bpm, "confidence": confidence})


def _power(day: Day, config: DemoConfig) -> Iterator[Event]:
    """At intervals, and as soon as the charger is plugged in or out."""
    rng = _rng(config, "power")
    changes = (edge for span in day.charging for edge in (span.start, span.end) if 0 < edge < day.seconds)
    for at in heapq.merge(_every(day, _FULL_S if config.full else _SLOW_S, rng), sorted(changes)):
        charging = day.charging_at(at)
        payload = {
            "battery_level": signals.battery_level(day, at),
            "is_charging": charging,
            "power_source": "USB" if charging else "Battery",
        }
        yield _single(POWER_RAW, "/sensor/power", at, rng, payload)


def _sensed(sensed: Iterator[senses.Sensed], config: DemoConfig, name: str) -> Iterator[Event]:
    rng = _rng(config, name)
    return (Event(at, path, (Message(topic, at, _identity(rng), payload),)) for topic, path, at, payload in sensed)


def _readings(day: Day, topic: Topic, config: DemoConfig) -> Iterator[Event]:
    sensor_type = topic.parts[2]
    rng = _rng(config, sensor_type)
    pause = (0.5 if sensor_type in _FAST_SENSORS else _FULL_S) if config.full else 2 * _SLOW_S
    for at in _every(day, pause, rng):
        value, unit = signals.ambient(sensor_type, day, at, rng)
        payload = {"sensor_type": sensor_type, "value": value, "unit": unit}
        yield _single(topic, "/sensor/generic", at, rng, payload)


def _every(day: Day, pause: float, rng: random.Random) -> Iterator[float]:
    at = rng.uniform(0, min(pause, 5.0))
    while at < day.seconds:
        yield at
        at += pause


def _audio(truth: Truth, voices: Sequence[speech.Utterance], config: DemoConfig) -> Iterator[Event]:
    """Recordings of one utterance each, in chunks without a gap; at full rate one follows the other at once.

    A recording begins and ends with a second of silence. No one speaks while asleep.
    """
    rng = _rng(config, "audio")
    generator = np.random.default_rng(rng.getrandbits(64))
    day, length = truth.day, config.chunk_seconds
    begin = 0.0
    while True:
        voice = rng.choice(voices)
        seconds = -(-(voice.seconds + 2.0) // length) * length
        if begin + seconds > day.seconds:
            return
        if config.full or day.activity_at(begin).kind != "sleep":
            samples = speech.background(round(seconds * speech.SAMPLE_RATE), generator)
            samples[speech.SAMPLE_RATE : speech.SAMPLE_RATE + len(voice.samples)] += voice.samples
            spoken = Spoken(begin + 1.0, begin + 1.0 + voice.seconds, voice.name, voice.text)
            truth.spoken.append(spoken)
            yield from _chunks(samples, begin, length, str(UUID(int=_identity(rng), version=4)), rng)
        begin += seconds if config.full else seconds / config.rate * rng.uniform(0.7, 1.3)


def _chunks(samples: speech.Samples, begin: float, length: float, file_id: str, rng: random.Random) -> Iterator[Event]:
    size = round(length * speech.SAMPLE_RATE)
    for number in range(len(samples) // size):
        at = begin + number * length
        payload = {
            "chunk_data": speech.wav_base64(samples[number * size : (number + 1) * size]),
            "sample_rate": speech.SAMPLE_RATE,
            "channels": 1,
            "format": "wav",
            "duration_ms": round(length * 1_000),
            "file_id": file_id,
        }
        # A chunk is sent when it is complete.
        yield Event(at + length, "/audio/upload", (Message(AUDIO_RAW, at, _identity(rng), payload),))


def _body(message: Message, began: datetime, device: str) -> dict[str, Any]:
    return {
        "device_id": device,
        "message_id": str(message.message_id(began)),
        "timestamp": message.timestamp(began),
        **{name: senses.on(began, value) for name, value in message.payload.items()},
    }
