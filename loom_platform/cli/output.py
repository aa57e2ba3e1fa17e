"""What the commands share: the consoles, and errors shown as a sentence in place of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.markup import escape

from loom_models.errors import StageError
from loom_platform.errors import PlatformError
from loom_platform.stream.errors import StreamError

console = Console(highlight=False, soft_wrap=True)
complaints = Console(stderr=True, highlight=False, soft_wrap=True)


@contextmanager
def reported() -> Iterator[None]:
    """Show an error of ours as its message and exit with 1."""
    try:
        yield
    except (PlatformError, StageError, StreamError) as error:
        complaints.print(f"[red]{escape(str(error))}[/]")
        raise typer.Exit(1) from None
