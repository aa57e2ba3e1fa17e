"""`loom logs`: the end of the services' logs, and what is added to them."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from rich.text import Text

from loom_platform.cli.output import console
from loom_platform.embedded.process import tail
from loom_platform.errors import ServiceError

_COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red")


def log_files(directory: Path, service: str | None) -> dict[str, Path]:
    """The logs by service; raises ServiceError when there is none of that name."""
    there = {path.stem: path for path in sorted(directory.glob("*.log"))}
    if service is None:
        return there
    if service not in there:
        raise ServiceError(f"no log of {service!r} in {directory}; there are {', '.join(there) or 'none'}")
    return {service: there[service]}


def follow(directory: Path, service: str | None, go_on: Callable[[], bool], lines: int = 10) -> None:
    """Print the last lines, then what is added for as long as `go_on()`."""
    colours: dict[str, str] = {}

    def say(name: str, text: str) -> None:
        colour = colours.setdefault(name, _COLOURS[len(colours) % len(_COLOURS)])
        for line in text.splitlines():
            prefix = Text() if service else Text(f"{name:18}| ", colour)
            console.print(prefix + Text.from_ansi(line))

    positions: dict[str, tuple[int, int]] = {}
    for name, path in log_files(directory, service).items():
        stat = path.stat()
        positions[name] = (stat.st_ino, stat.st_size)
        say(name, tail(path, lines))
    while go_on():
        time.sleep(0.3)
        for name, path in log_files(directory, service).items():
            position, text = _added(path, positions.get(name))
            positions[name] = position
            say(name, text)


def _added(path: Path, position: tuple[int, int] | None) -> tuple[tuple[int, int], str]:
    """What is new since `position` (inode and offset); a log that was rotated is read from its beginning."""
    with path.open("rb") as file:
        stat = os.fstat(file.fileno())
        same = position is not None and position[0] == stat.st_ino and position[1] <= stat.st_size
        file.seek(position[1] if same and position else 0)
        data = file.read()
        end = data.rfind(b"\n") + 1
        return (stat.st_ino, file.tell() - len(data) + end), data[:end].decode(errors="replace")
