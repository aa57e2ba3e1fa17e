"""The `loom` command: an explicit list of its families of commands."""

from importlib import import_module
from typing import Final

import typer

# Module under loom_platform.cli and the name of its sub-command; None adds its commands at the top.
FAMILIES: Final[tuple[tuple[str, str | None], ...]] = (
    ("services", None),
    ("db", "db"),
    ("lag", None),
    ("recompute", None),
    ("replay", None),
    ("explain", None),
    ("offsets", "offsets"),
    ("deadletters", "deadletters"),
    ("versions", "versions"),
    ("stages", "stages"),
    ("flows", "flows"),
    ("rollups", "rollups"),
    ("blobs", "blobs"),
    ("retention", "retention"),
    ("usage", None),
    ("topics", "topics"),
    ("demo", None),
    ("georegions", "georegions"),
    ("networks", "networks"),
    ("places", "places"),
    ("day", None),
    ("zones", "zones"),
    ("apps", "apps"),
    ("keys", "keys"),
    ("identities", "identities"),
    ("audit", "audit"),
    ("export", "export"),
    ("backup", None),
    ("importing", None),
    ("erase", "erase"),
)

app = typer.Typer(
    name="loom",
    help="A personal data platform that you run for yourself.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)

for _module, _name in FAMILIES:
    app.add_typer(import_module(f"loom_platform.cli.{_module}").app, name=_name)

if __name__ == "__main__":
    app()
