"""What runs by the clock: the maintenance of Dagster's own database."""

from datetime import UTC, datetime

import dagster as dg
import psycopg
import sqlalchemy

from loom_platform.orchestration.maintenance import prune
from loom_platform.orchestration.platform import Platform


@dg.op(name="prune_dagster", description="Deletes runs, events and ticks that have passed their retention.")
def prune_dagster(context: dg.OpExecutionContext, platform: dg.ResourceParam[Platform]) -> None:
    """Prune Dagster's database; partition status stays as it is."""
    url = sqlalchemy.make_url(platform.settings().dagster_url_of_storage).set(drivername="postgresql")
    with psycopg.connect(
        url.render_as_string(hide_password=False),
        autocommit=True,
        connect_timeout=10,
        application_name="loom maintenance",
        options="-c statement_timeout=600s -c idle_in_transaction_session_timeout=120s",
    ) as connection:
        pruned = prune(connection, datetime.now(UTC))
    context.add_output_metadata({table: count for table, count in pruned.rows.items() if count})


def maintenance_job() -> dg.JobDefinition:
    """The job of the nightly prune."""

    @dg.job(name="maintenance", executor_def=dg.in_process_executor, description="Keeps Dagster's database small.")
    def maintenance() -> None:
        prune_dagster()

    return maintenance


def maintenance_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Every night; it is quick, because a day's worth is little."""
    return dg.ScheduleDefinition(
        name="maintenance_nightly",
        job=job,
        cron_schedule="40 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
