"""`loom lag`: how far each stage is behind its topic."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from loom_models.stage import Stage
    from loom_platform.stream.api import Lag

app = typer.Typer()


@app.command()
def lag(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show how many records each stage has not read yet, and for how long the oldest has been waiting."""
    import json
    from datetime import UTC, datetime

    from rich.table import Column, Table

    from loom_models.flows import STAGES
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.health import oldest_unread
    from loom_platform.orchestration.platform import Platform
    from loom_platform.stream.api import backlog

    with reported():
        config = Platform().stream_config("cli")
        lags = backlog(STAGES, config)
        oldest = oldest_unread(lags, STAGES, config)
    rows = [_row(s, lags[s.name], oldest.get(s.name), datetime.now(UTC)) for s in STAGES]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    numbers = [Column(name, justify="right") for name in ("records", "behind", "waiting", "SLA")]
    table = Table("stage", *numbers, "state", box=None, pad_edge=False)
    for row in rows:
        waiting = "-" if row["lag_seconds"] is None else f"{row['lag_seconds']:,.1f} s"
        style = {"halted": "red", "behind": "yellow", "running": "green"}.get(row["state"], "")
        state = f"[{style}]{row['state']}[/]" if style else row["state"]
        read = f"{row['offset']:,}"
        table.add_row(row["stage"], read, f"{row['messages']:,}", waiting, f"{row['sla_seconds']:g} s", state)
    console.print(table)
    for row in rows:
        if row["halted"]:
            console.print(f"[red]{row['halted']}[/]")


def _row(stage: "Stage", lag: "Lag", oldest: "datetime | None", now: "datetime") -> dict[str, Any]:
    seconds = None if oldest is None else round(max(0.0, (now - oldest).total_seconds()), 3)
    sla = stage.policy.sla.total_seconds()
    if lag.halted:
        state = "halted"
    elif seconds is not None and seconds > sla:
        state = "behind"
    else:
        state = "running" if lag.has_live_run else "idle"
    return {
        "stage": stage.name,
        "topic": stage.source.name,
        "offset": sum(offset for offset, _ in lag.offsets.values()),
        "messages": lag.messages,
        "lag_seconds": seconds,
        "sla_seconds": sla,
        "has_live_run": lag.has_live_run,
        "due_timers": lag.due_timers,
        "state": state,
        "halted": lag.halted,
    }
