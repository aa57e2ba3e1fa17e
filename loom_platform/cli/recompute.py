"""`loom recompute`: a day again, or many, through the same transform as live."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loom_models.stage import Stage
    from loom_platform.settings import Settings

app = typer.Typer()

_Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")]

_LAUNCH = """
mutation Recompute($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""


@app.command()
def recompute(
    stage_name: Annotated[str, typer.Argument(metavar="STAGE", help="A stage; `loom lag` lists them.")],
    on: Annotated[
        datetime | None, typer.Argument(metavar="[DAY]", formats=["%Y-%m-%d"], help="A UTC day; the same as --day.")
    ] = None,
    day: _Day = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")] = None,
    device: Annotated[list[str] | None, typer.Option("--device", help="Only of this device; may be repeated.")] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Do not go on with one that was broken off.")] = False,
    here: Annotated[bool, typer.Option("--here", help="In this process, without Dagster.")] = False,
) -> None:
    """Compute UTC days of STAGE again: DAY for one, --from and --to for many (both included).

    Through the running platform it becomes a backfill, which the Dagster UI shows; with --here it runs at once in
    this process, and Dagster is not told. Asked for again, one that was broken off goes on where it was.
    """
    from loom_platform.cli.offsets import find_stage
    from loom_platform.cli.output import reported
    from loom_platform.settings import load_settings

    if on is not None and day is not None:
        raise typer.BadParameter("give the day once, as DAY or with --day", param_hint="--day")
    stage = find_stage(stage_name)
    days = days_of(on or day, first, last)
    with reported():
        settings = load_settings()
        if here:
            compute_here(stage, days, device, anew=anew)
        else:
            submit(stage, days, settings, device, anew=anew)


def days_of(day: datetime | None, first: datetime | None, last: datetime | None) -> tuple[date, date]:
    """First and last of the days that were asked for; a BadParameter when that is not clear."""
    if day is not None and (first is not None or last is not None):
        raise typer.BadParameter("give --day, or --from and --to, not both", param_hint="--day")
    if day is not None:
        return day.date(), day.date()
    if first is None or last is None:
        raise typer.BadParameter("give --day, or both --from and --to", param_hint="--day")
    if first > last:
        raise typer.BadParameter(f"{first:%F} is after --to {last:%F}", param_hint="--from")
    return first.date(), last.date()


def compute_here(
    stage: "Stage", days: tuple[date, date], devices: Sequence[str] | None = None, *, anew: bool = False
) -> None:
    """Compute `days` again in this process, telling how far it is on a terminal, and then the rows of each day."""
    import threading

    from loom_platform.cli.output import console
    from loom_platform.orchestration.platform import Platform
    from loom_platform.stream.api import StageReport, recompute

    rows: dict[tuple[str, date], int] = {}
    records = 0
    with console.status(f"{stage.name}: reading") as status:

        def show(report: StageReport) -> None:
            nonlocal records
            records += report.records if report.sink is stage.sinks[0] else 0
            for day, count in report.rows_by_day.items():
                rows[report.sink.name, day] = rows.get((report.sink.name, day), 0) + count
            status.update(f"{stage.name}: {records:,} records")

        config = Platform().stream_config("cli-recompute")
        stop = threading.Event()
        summary = recompute(stage, *days, config, on_report=show, stop=stop, devices=devices, anew=anew)
    for (name, day), count in sorted(rows.items()):
        console.print(f"{name} {day}: {count:,} rows")
    console.print(
        f"{stage.name}: {summary.records:,} records, {summary.rows:,} rows, {summary.dead_letters:,} dead letters"
    )


def submit(
    stage: "Stage",
    days: tuple[date, date],
    settings: "Settings",
    devices: Sequence[str] | None = None,
    *,
    anew: bool = False,
) -> None:
    """Have Dagster do it as one backfill; raises ServiceError when it does not take it."""
    import httpx

    from loom_models.flows import FLOWS
    from loom_platform.cli.output import console
    from loom_platform.errors import ServiceError
    from loom_platform.orchestration.groups import groups_of

    first, last = days
    url = f"http://127.0.0.1:{settings.dagster_port}"
    group = next(g for g in groups_of(FLOWS) if stage in g.stages)
    config = {"devices": list(devices or ()), "anew": anew}
    params = {
        "assetSelection": [{"path": list(sink.parts)} for sink in stage.sinks],
        "partitionNames": [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)],
        "title": f"recompute {stage.name}",
        "runConfigData": {"ops": {f"{group.name}_stages": {"config": config}}},
    }
    try:
        answer = httpx.post(f"{url}/graphql", json={"query": _LAUNCH, "variables": {"params": params}}, timeout=30.0)
        answer.raise_for_status()
        result = answer.json()["data"]["launchPartitionBackfill"]
    except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
        raise ServiceError(
            f"Dagster at {url} did not take the recompute ({error}): start the platform with `loom up`, correct "
            "LOOM_DAGSTER_PORT, or run it in this process with --here"
        ) from None
    if "backfillId" not in result:
        raise ServiceError(f"Dagster refused the recompute: {result.get('message', result['__typename'])}")
    console.print(f"submitted; it starts within 30 s: {url}/runs/b/{result['backfillId']}")
