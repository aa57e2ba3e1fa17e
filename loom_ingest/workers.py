"""The metrics of several worker processes as those of one service.

Whichever worker is asked answers for all. Each keeps its numbers in memory, and writes them, every second and at its
end, to a file in a directory that the workers of one parent share. What a worker that has died counted stays counted.
"""

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import psutil
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.samples import Sample

from loom_ingest.logging import log

WRITE_SECONDS: Final = 1.0
_LEAST: Final = frozenset({"kafka_connected", "process_start_time_seconds"})
_MOST: Final = frozenset({"spool_oldest_age_seconds", "process_max_fds"})
"""Gauges of which neither the sum would say anything; of all others, and of counters and histograms, it does."""

Samples = list[tuple[str, dict[str, str], float]]
Families = dict[str, tuple[str, str, Samples]]
"""Type, help and samples of each metric by its name."""


class Workers:
    """This worker's place in the directory of its parent's workers, below `root`."""

    def __init__(self, root: Path | None = None) -> None:
        self._root = root or Path(tempfile.gettempdir()) / f"loom-ingest-{os.getuid()}"
        self._directory = self._root / _name(os.getppid())
        self._own = self._directory / f"{_name(os.getpid())}.json"
        self._writer: asyncio.Task[None] | None = None

    async def start(self, registry: CollectorRegistry) -> None:
        """Begin to write; raises PermissionError when the directory is somebody else's."""
        self._root.mkdir(0o700, parents=True, exist_ok=True)
        if self._root.stat().st_uid != os.getuid():
            raise PermissionError(f"{self._root} belongs to another user; remove it, or set TMPDIR")
        for other in self._root.iterdir():
            if not _lives(other.name):
                shutil.rmtree(other, ignore_errors=True)
        self._directory.mkdir(0o700, exist_ok=True)
        self.write(registry)
        self._writer = asyncio.create_task(self._write_on(registry), name="metrics-writer")

    async def stop(self, registry: CollectorRegistry) -> None:
        """Write for the last time."""
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
            self.write(registry)

    def write(self, registry: CollectorRegistry) -> None:
        """Show the others the numbers of now; a disk that takes no file costs only that."""
        new = self._own.with_suffix(".new")
        try:
            new.write_text(json.dumps(_families(registry.collect())))
            new.replace(self._own)
        except OSError as error:
            log.warning("metrics_not_shared", directory=str(self._directory), reason=error.strerror)

    async def _write_on(self, registry: CollectorRegistry) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            self.write(registry)

    def merged(self, registry: CollectorRegistry) -> CollectorRegistry:
        """A registry with the numbers of all: this worker's of now, the others' of at most a second ago."""
        parts = [_families(registry.collect())]
        with contextlib.suppress(OSError):
            for path in sorted(self._directory.glob("*.json")):
                if path != self._own:
                    with contextlib.suppress(OSError, ValueError):
                        families: Families = json.loads(path.read_text())
                        parts.append(families if _lives(path.stem) else _counted(families))
        merged = CollectorRegistry()
        merged.register(_Merged(parts))
        return merged


class _Merged(Collector):
    def __init__(self, parts: Iterable[Families]) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        """Each metric once, with each of its samples once."""
        merged: dict[str, Metric] = {}
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for families in self._parts:
            for name, (kind, text, samples) in families.items():
                if name not in merged:
                    merged[name] = Metric(name, text, kind)
                known = values.setdefault(name, {})
                for sample, labels, value in samples:
                    key = (sample, tuple(sorted(labels.items())))
                    known[key] = _together(name, kind, known[key], value) if key in known else value
        for name, metric in merged.items():
            metric.samples = [Sample(sample, dict(labels), value) for (sample, labels), value in values[name].items()]
            yield metric


def _together(name: str, kind: str, one: float, other: float) -> float:
    if kind == "gauge" and name in _LEAST:
        return min(one, other)
    if kind == "gauge" and name in _MOST:
        return max(one, other)
    return one + other


def _families(metrics: Iterable[Metric]) -> Families:
    families: Families = {}
    for metric in metrics:
        samples = [(s.name, dict(s.labels), s.value) for s in metric.samples]
        families[metric.name] = (metric.type, metric.documentation, samples)
    return families


def _counted(families: Families) -> Families:
    """Of a worker that has died: what it counted, without how it was."""
    return {name: family for name, family in families.items() if family[0] != "gauge"}


def _name(pid: int) -> str:
    """Of one process, also after its number was given to another."""
    try:
        return f"{pid}-{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess:
        return f"{pid}-0"


def _lives(name: str) -> bool:
    number = name.partition("-")[0]
    return number.isdigit() and _name(int(number)) == name
