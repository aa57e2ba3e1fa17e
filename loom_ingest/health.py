"""What the probes say of the service."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from loom_ingest import VERSION
from loom_ingest.accept import Services
from loom_ingest.errors import timestamp_text
from loom_ingest.producer import State


class Health(BaseModel):
    """The guide's answer of `/healthz` and `/readyz`."""

    status: Literal["healthy", "unhealthy"]
    timestamp: str = Field(examples=["2026-01-15T08:30:00.000Z"])
    version: str = Field(examples=[VERSION])
    kafka_connected: bool
    state: State = Field(description="Where a record goes now.", examples=["direct"])


def health(services: Services, *, healthy: bool) -> Health:
    """The state of the service now."""
    return Health(
        status="healthy" if healthy else "unhealthy",
        timestamp=timestamp_text(datetime.now(UTC)),
        version=VERSION,
        kafka_connected=services.producer.connected,
        state=services.producer.state,
    )
