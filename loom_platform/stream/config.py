"""What a stream run is given: where its broker, database and blobs are, and when it ends."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

from loom_models.stage import Stage
from loom_platform.blobs import Blobs


def no_point(_: str) -> None:
    """The default of `StreamConfig.on_point`: do nothing."""


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """The configuration of one stream run.

    `idle_timeout`: the run ends when no stage has had work for so long. `max_duration`: it ends then in any case.
    `shard` (index, count): it reads the partitions p with p % count == index. `batch_target` is how long one batch
    may take before the next is made smaller. `stages` are all that exist, so that landing knows whom to wake; those of
    the run itself are known. `on_point` is called with the name of each step of a batch
    (`polled`, `fenced`, `before-produce`, `after-produce`, `before-copy`, `after-copy`, `before-commit`,
    `after-commit`), for tests that stop the process there.
    """

    database_url: str
    bootstrap_servers: str
    topic_prefix: str = ""
    run_id: str = field(default_factory=lambda: f"local-{uuid4()}")
    idle_timeout: timedelta = timedelta(seconds=60)
    max_duration: timedelta = timedelta(minutes=30)
    report_interval: timedelta = timedelta(seconds=15)
    lease_duration: timedelta = timedelta(seconds=10)
    batch_target: timedelta = timedelta(seconds=1)
    shard: tuple[int, int] = (0, 1)
    blobs: Blobs | None = None
    stages: tuple[Stage, ...] = ()
    on_point: Callable[[str], None] = no_point
