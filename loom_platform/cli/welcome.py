"""What is shown when the platform is up."""

import shutil
import sys
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from loom_platform.supervise.platform import Platform
from loom_platform.supervise.services import hide_password
from loom_platform.supervise.status import Status

_STYLES = {"ready": "green", "starting": "cyan", "backoff": "yellow", "stopping": "yellow"}

_NEXT = (
    ("loom demo --speed 60", "a simulated person's day, sent over the public API"),
    ("loom status", "what runs, and where"),
    ("loom lag", "how far behind each stage is"),
    ("loom logs ingest -f", "what a service says"),
    ("make down", "stop everything; the data stays"),
)


def welcome(platform: Platform, seconds: float) -> RenderableType:
    """URLs, and what to try next."""
    urls = {service.name: service.url for service in platform.services}
    places = Table.grid(padding=(0, 2))
    for what, url in (
        ("Dagster UI", urls["dagster-webserver"]),
        ("Ingest API", urls["ingest"]),
        ("API documentation", f"{urls['ingest']}/docs"),
        ("PostgreSQL", urls["postgres"]),
        ("Kafka", urls["kafka"]),
        ("Data", str(platform.settings.data_dir)),
    ):
        places.add_row(Text(what, "bold"), Text(url, "cyan"))
    hints = Table.grid(padding=(0, 2))
    for command, what in _NEXT:
        hints.add_row(Text(f"  {_typed(command)}", "green"), Text(what, "dim"))
    parts: list[RenderableType] = [
        Text(f"\nLoom is ready ({seconds:.1f} s)\n", "bold green"),
        places,
        Text("\nTry next", "bold"),
        hints,
    ]
    if platform.settings.host.startswith("127."):
        parts.append(
            Text(
                "\nOnly this machine can reach it. For a phone: loom keys create --name phone, then "
                "LOOM_HOST=0.0.0.0 LOOM_REQUIRE_API_KEYS=true make up (docs/how-to/api-keys.md)",
                "dim",
            )
        )
    return Group(*parts)


def _typed(command: str) -> str:
    """The command as this shell finds it."""
    if not command.startswith("loom ") or shutil.which("loom"):
        return command
    program = Path(sys.executable).with_name("loom")
    if program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return f"{program} {command.removeprefix('loom ')}"


def status_table(status: Status) -> Table:
    """The services with their state."""
    table = Table("service", "state", "pid", "url", box=None, padding=(0, 2, 0, 0), header_style="bold")
    for service in status.services:
        state = Text(service.state, _STYLES.get(service.state, "red"))
        url = hide_password(service.url) if service.name == "postgres" else service.url
        table.add_row(service.name, state, str(service.pid or "-"), url)
    return table
