"""Asking the services that a person chose, as an asset, and the sensor that starts it when something waits."""

from datetime import timedelta
from pathlib import Path

import dagster as dg

from loom_contracts.topics.location import ADDRESS_GEOCODED, BUSINESS_IDENTIFIED
from loom_models.errors import DependencyError
from loom_platform.errors import SettingsError
from loom_platform.lookups import queue, work
from loom_platform.lookups.chosen import chosen
from loom_platform.orchestration.interrupts import stop_on_interrupt
from loom_platform.orchestration.platform import Platform
from loom_platform.orchestration.specs import OWNER, asset_key, file_reference
from loom_platform.roles.limits import Role

NAME = "lookups"
LOOK_SECONDS = 30


def lookups_asset(idle: timedelta = work.IDLE) -> dg.AssetsDefinition:
    """The asset of what services have answered; a run ends when nothing has waited for `idle`."""

    @dg.asset(
        key=dg.AssetKey(NAME),
        deps=[asset_key(ADDRESS_GEOCODED), asset_key(BUSINESS_IDENTIFIED)],
        group_name="platform",
        kinds={"postgres"},
        owners=[OWNER],
        tags={"loom/role": "maintenance"},
        description="Asks the geocoder and the business finder of LOOM_GEOCODER and LOOM_BUSINESS_FINDER about the "
        "cells of pending rows, and wakes the stages for the answers. By default nobody is asked.",
        metadata={"dagster/code_references": file_reference(Path(work.__file__), "the asking")},
    )
    def lookups(context: dg.AssetExecutionContext, platform: dg.ResourceParam[Platform]) -> dg.MaterializeResult[None]:
        """Ask about what waits."""
        choices = chosen(platform.settings())
        with platform.connect("lookups", Role.STREAM) as connection, stop_on_interrupt() as stop:
            asked = work.ask(connection, choices, stop=stop, idle=idle)
            waiting = {c.kind: queue.waiting(connection, c.kind)[0] for c in choices}
        for name, reason in asked.away.items():
            context.log.warning(f"{name} is left alone for a while: {reason}; its rows stay pending")
        return dg.MaterializeResult(
            metadata={
                "requests": asked.requests,
                "cells": dict(asked.cells),
                "pending_rows": dict(waiting),
                "away": dict(asked.away),
            }
        )

    return lookups


def lookups_sensor() -> dg.SensorDefinition:
    """Looks every half minute; while nobody is chosen it only sees that the stages know so."""

    @dg.sensor(
        name=NAME,
        target=dg.AssetSelection.assets(NAME),
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts the asking when a row waits for a service that can be asked.",
    )
    def look(
        context: dg.SensorEvaluationContext,  # noqa: ARG001 - dagster looks for it by its name
        platform: dg.ResourceParam[Platform],
    ) -> dg.RunRequest | dg.SkipReason:
        """Whether there is anybody to ask, and anything."""
        try:
            choices = chosen(platform.settings())
            with platform.connect("lookups", Role.STREAM) as connection:
                if not queue.take(connection):
                    return dg.SkipReason("a run is asking")
                queue.choose(connection, choices)
                needed = work.is_needed(connection, choices)
        except (DependencyError, SettingsError) as error:
            return dg.SkipReason(f"waiting for {error}")
        if needed:
            return dg.RunRequest()
        names = [c.host for c in choices if c.host is not None]
        return dg.SkipReason(f"nothing to ask {' and '.join(names)}" if names else "nobody is asked")

    return look
