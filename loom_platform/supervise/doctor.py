"""`loom doctor`: what this machine lacks, and the command that mends it."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import psutil

from loom_platform.embedded.jars import jars_directory
from loom_platform.embedded.java import find_java, java_version
from loom_platform.embedded.postgres import wheel_binaries
from loom_platform.errors import PlatformError
from loom_platform.settings import PREFIX, Settings, load_settings, loom_environment
from loom_platform.supervise.endpoints import choose_ports

GIB = 1024**3
LEAST_DISK = 5 * GIB
LEAST_MEMORY = 3 * GIB
# Variables of the ingest service and of the supervision, beside those of Settings.
_OTHERS = frozenset({"LOOM_INSTANCE", "LOOM_CODE", "LOOM_DAGSTER_DATABASE_URL", "LOOM_API_KEY"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is a command or a sentence, empty when nothing is wrong."""

    what: str
    level: Literal["ok", "warning", "error"]
    found: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Look at everything; never raises for what it finds."""
    try:
        settings = load_settings()
    except PlatformError as error:
        return [Finding("settings", "error", str(error), "correct the variable, or unset it")]
    checks: list[Callable[[Settings], Finding]] = [_settings, _disk, _memory, _ports]
    if not settings.external_kafka:
        checks += [_java, _broker]
    if not settings.external_database:
        checks.append(_postgres)
    return [check(settings) for check in checks]


def _settings(_: Settings) -> Finding:
    from loom_ingest.settings import Settings as IngestSettings
    from loom_ingest.settings import load_settings as load_ingest_settings

    try:
        load_ingest_settings()
    except Exception as error:
        return Finding("settings", "error", str(error), "correct the variable, or unset it")
    known = {PREFIX + name.upper() for name in (*Settings.model_fields, *IngestSettings.model_fields)} | _OTHERS
    unknown = sorted(set(loom_environment()) - known)
    if unknown:
        return Finding(
            "settings", "warning", f"no setting is called {', '.join(unknown)}", f"unset {' '.join(unknown)}"
        )
    return Finding("settings", "ok", "valid")


def _java(_: Settings) -> Finding:
    try:
        java = find_java()
    except PlatformError as error:
        return Finding("Java", "error", str(error), "apt-get install default-jre-headless")
    return Finding("Java", "ok", f"{java_version(java)} at {java}")


def _broker(settings: Settings) -> Finding:
    jars = jars_directory(settings.cache_dir)
    if jars.exists():
        return Finding("Kafka broker", "ok", f"its jars are in {jars}")
    if shutil.which("mvn"):
        return Finding("Kafka broker", "warning", "not fetched yet; Maven is there to do it", "make up")
    return Finding("Kafka broker", "error", "not fetched, and Maven is missing", "apt-get install maven")


def _postgres(_: Settings) -> Finding:
    try:
        return Finding("PostgreSQL", "ok", f"binaries in {wheel_binaries()}")
    except PlatformError as error:
        return Finding("PostgreSQL", "error", str(error), "make up")


def _ports(settings: Settings) -> Finding:
    from loom_platform.supervise.stopping import supervisor_of

    try:
        ports = choose_ports(settings, ours=supervisor_of(settings).alive())
    except PlatformError as error:
        return Finding("ports", "error", str(error), "stop what listens there, or choose another port")
    moved = {name: port for name, port in ports.items() if port != getattr(settings, name)}
    if moved:
        told = ", ".join(f"{PREFIX}{name.upper()}: {getattr(settings, name)} is taken" for name in moved)
        return Finding("ports", "warning", f"{told}; the next free one will be used")
    return Finding("ports", "ok", ", ".join(str(port) for port in ports.values()))


def _disk(settings: Settings) -> Finding:
    place = next(p for p in (settings.data_dir, *settings.data_dir.parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < LEAST_DISK:
        remedy = "make room there, or set LOOM_DATA_DIR to a larger disk"
        return Finding(
            "disk", "error", f"{free / GIB:.1f} GiB free below {place}; Loom wants {LEAST_DISK / GIB:.0f}", remedy
        )
    return Finding("disk", "ok", f"{free / GIB:.0f} GiB free below {place}")


def _memory(_: Settings) -> Finding:
    available = psutil.virtual_memory().available
    if available < LEAST_MEMORY:
        found = f"{available / GIB:.1f} GiB available; Loom wants {LEAST_MEMORY / GIB:.0f}"
        return Finding("memory", "warning", found, "close other programs")
    return Finding("memory", "ok", f"{available / GIB:.1f} GiB available")
