"""`loom recompute`: a day again, or many, through the same transform as live."""

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
    day: _Day = None,
    first: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")] = None,
    last: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD")] = None,
    here: Annotated[bool, typer.Option("--here", help="In this process, without Dagster.")] = False,
) -> None:
    """Compute UTC days of STAGE again: --day for one, --from and --to for many (both included).

    Through the running platform it becomes a backfill, which the Dagster UI shows; with --here it runs at once in
    this process, and Dagster is not told.
    """
    from loom_platform.cli.offsets import find_stage
    from loom_platform.cli.output import reported
    from loom_platform.settings import load_settings

    stage = find_stage(stage_name)
    days = days_of(day, first, last)
    with reported():
        settings = load_settings()
        if here:
            _here(stage, days)
        else:
            _submit(stage, days, settings)


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


def _here(stage: "Stage", days: tuple[date, date]) -> None:
    import threading

    from loom_platform.cli.output import console
    from loom_platform.orchestration.platform import Platform
    from loom_platform.stream.api import StageReport, recompute

    def show(report: StageReport) -> None:
        for day, rows in sorted(report.rows_by_day.items()):
            console.print(f"{report.sink.name} {day}: {rows:,} rows")

    summary = recompute(stage, *days, Platform().stream_config("cli-recompute"), on_report=show, stop=threading.Event())
    console.print(
        f"{stage.name}: {summary.records:,} records, {summary.rows:,} rows, {summary.dead_letters:,} dead letters"
    )


def _submit(stage: "Stage", days: tuple[date, date], settings: "Settings") -> None:
    import httpx

    from loom_platform.cli.output import console
    from loom_platform.errors import ServiceError

    first, last = days
    url = f"http://127.0.0.1:{settings.dagster_port}"
    params = {
        "assetSelection": [{"path": list(sink.parts)} for sink in stage.sinks],
        "partitionNames": [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)],
        "title": f"recompute {stage.name}",
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
