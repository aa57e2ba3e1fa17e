"""What is sent: the demo's day, disordered, repeated, by clocks that jump; a day of the past; clients of each kind."""

import asyncio
import contextlib
import random
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from loom_platform.demo.events import DemoConfig, Event, make_day
from loom_platform.demo.send import Acknowledged, SendConfig, SendReport, send
from tests.ingest.faults.clients import Clients

HELD = 24
PAUSE_S = 0.1
REPEATED = 0.04
JUMPED = 0.01
FARTHEST_JUMP_S = 3 * 3_600


@dataclass
class Disorder:
    """How often the demo's clients misbehaved."""

    moved: int = 0
    repeated: int = 0
    jumped: int = 0

    def of(self, events: Iterable[Event], rng: random.Random) -> Iterator[Event]:
        """`events` in another order within a short span; some twice, some by a clock that is hours off for one."""
        held: list[tuple[int, Event]] = []
        given = 0
        for number, event in enumerate(events):
            if rng.random() < JUMPED:
                by = rng.uniform(-FARTHEST_JUMP_S, FARTHEST_JUMP_S)
                event = replace(event, messages=tuple(replace(m, at=m.at + by) for m in event.messages))
                self.jumped += len(event.messages)
            held.append((number, event))
            if len(held) < HELD:
                continue
            place, chosen = held.pop(rng.randrange(len(held)))
            self.moved += place != given
            given += 1
            yield chosen
            if rng.random() < REPEATED:
                self.repeated += len(chosen.messages)
                held.append((place, chosen))
        yield from (event for _, event in held)


@dataclass
class Load:
    """Senders in a thread of their own, from the beginning of the context until `end`.

    `acknowledged` maps a topic's name to the ids that the service has answered for with success.
    """

    url: str
    seed: int
    seconds: float
    rate: float
    disorder: Disorder = field(default_factory=Disorder)
    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    refused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._main, name="demo")
        self._clients = Clients(self.url, self.seed, singles=2, batches=1, streams=2, pause=PAUSE_S)

    def __enter__(self) -> Self:
        self._thread.start()
        self._clients.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._clients.__exit__(kind, error, trace)
        self._thread.join(60)

    def end(self) -> None:
        """Send nothing new; what the clients have begun, they finish."""
        self._stop.set()
        self._clients.end()
        self._thread.join(60)
        for failure in self._failures:
            raise failure
        for topic, ids in self._clients.log.acknowledged.items():
            self.acknowledged[topic].update(ids)

    @property
    def count(self) -> int:
        """Messages acknowledged so far."""
        return sum(map(len, self.acknowledged.values()))

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:
            self._failures.append(error)

    async def _run(self) -> None:
        now = datetime.now(UTC)
        phone = DemoConfig(self.seconds, self.rate, "soak-phone", self.seed, batch=10)
        # 18 hours of yesterday and today, an hour of it a minute
        watch = DemoConfig(18 * 3_600.0, 0.02, "soak-watch", self.seed + 1, audio=False)
        tasks = [
            asyncio.create_task(self._send(phone, 1.0, now)),
            asyncio.create_task(self._send(watch, watch.seconds / self.seconds, now - timedelta(hours=20))),
        ]
        while not self._stop.is_set() and not all(task.done() for task in tasks):
            await asyncio.sleep(0.1)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _send(self, config: DemoConfig, speed: float, began: datetime) -> None:
        _, events = make_day(config)
        report = SendReport(began)
        target = SendConfig(self.url, config.device, speed, patience_s=900)
        await send(self.disorder.of(events, random.Random(config.seed)), target, report, self._note)
        self.refused += report.refusals

    def _note(self, accepted: Sequence[Acknowledged]) -> None:
        for each in accepted:
            self.acknowledged[each.message.topic.name].add(each.message_id)
