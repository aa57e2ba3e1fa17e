"""Where a row came from, and what came of it: what `loom explain` shows, for programs and for links."""

from datetime import date
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from loom_contracts.topic import Topic
from loom_contracts.topics.registry import DERIVED, LANDED
from loom_ingest.accept import context_of
from loom_ingest.access.principal import Scope
from loom_ingest.errors import ApiError
from loom_ingest.lineage import tree
from loom_ingest.lineage.reading import Lineage
from loom_ingest.openapi import ERRORS, ErrorAnswer
from loom_ingest.route import IngestRoute
from loom_ingest.validation import rejection

router = APIRouter(prefix="/lineage", tags=["lineage"], route_class=IngestRoute)

TOPICS: Final[dict[str, Topic]] = {t.name: t for t in (*DERIVED, *LANDED)}
"""Topics whose rows are kept, by name."""
_DAY: Final = {"type": "string", "format": "date"}


class LineageRow(BaseModel):
    """One row with what explains it, and the rows beneath it."""

    model_config = ConfigDict(extra="allow")

    topic: str
    message_id: UUID
    device_id: str
    timestamp: str
    trace_id: str | None = None
    received_at: str | None = Field(None, description="Of a raw row: when it was accepted.")
    kafka_partition: int | None = None
    kafka_offset: int | None = None
    stage: str | None = Field(None, description="Of a derived row: what made it.")
    stage_version: str | None = None
    run_id: str | None = Field(None, description="The Dagster run.")
    computed_at: str | None = None
    superseded_at: str | None = None
    shown: bool | None = Field(None, description="Whether it is in its `_current` view.")
    more: dict[str, int] = Field({}, description="How many rows beneath it were left out, by topic.")


class RowUp(LineageRow):
    """A row and what it was made from."""

    made_from: list["RowUp"] = Field([], alias="from")


class RowDown(LineageRow):
    """A row and what was derived from it."""

    to: list["RowDown"] = []


class Explanation(BaseModel):
    """Both trees of one row."""

    up: RowUp = Field(alias="from")
    down: RowDown = Field(alias="to")


def _known(name: str) -> str:
    if name not in TOPICS:
        raise ValueError(f"there is no topic {name!r} with a table; `loom topics list` shows them all")
    return name


TopicName = Annotated[str, AfterValidator(_known)]


class Where(BaseModel):
    """Where a row is to be looked for."""

    topic: TopicName | None = None
    day: date | None = None


class Identity(BaseModel):
    """Which row."""

    message_id: UUID


class Newest(BaseModel):
    """Of which topic the newest row is wanted."""

    topic: TopicName
    day: date | None = None


M = TypeVar("M", bound=BaseModel)


def _operation(*, identity: bool) -> dict[str, Any]:
    topic = {"type": "string", "enum": sorted(TOPICS)}
    parameters = [
        {"name": "topic", "in": "query", "required": not identity, "schema": topic,
         "description": "Look only in its table; quicker."},
        {"name": "day", "in": "query", "required": False, "schema": _DAY, "description": "UTC day of the row."},
    ]  # fmt: skip
    if identity:
        schema = {"type": "string", "format": "uuid"}
        parameters.insert(0, {"name": "message_id", "in": "path", "required": True, "schema": schema})
    errors = {code: ERRORS[code] for code in (422, 500, 503)}
    errors[403] = {"model": ErrorAnswer, "description": "The row is another device's."}
    errors[404] = {"model": ErrorAnswer, "description": "There is no such row."}
    return {"responses": {200: {"model": Explanation}, **errors}, "openapi_extra": {"parameters": parameters}}


@router.get("/latest", **_operation(identity=False))
async def latest(request: Request) -> Response:
    """The newest row of a topic, or of one of its days, explained: what the links of Dagster's asset pages lead to."""
    where = _parsed(Newest, dict(request.query_params), "query")
    topic = TOPICS[where.topic]
    lineage, devices = _lineage(request), context_of(request).principal.devices
    only = None if devices is None else sorted(devices)
    row = await lineage.answered(tree.latest(topic, where.day, only))
    return _json(await lineage.answered(tree.explain_row(topic, row)))


@router.get("/{message_id}", **_operation(identity=True))
async def explain(request: Request) -> Response:
    """What a row was made from, by which stage, version and run, up to the raw events; and what was derived from it."""
    where = _parsed(Where, dict(request.query_params), "query")
    message_id = _parsed(Identity, request.path_params, "path").message_id
    topic = TOPICS[where.topic] if where.topic is not None else None
    lineage = _lineage(request)
    found, row = await lineage.answered(tree.find(message_id, topic=topic, day=where.day))
    # All of a row's lineage is of its own device.
    principal = context_of(request).principal
    principal.require(Scope.READ)
    principal.require_devices((row["device_id"],))
    return _json(await lineage.answered(tree.explain_row(found, row)))


def _lineage(request: Request) -> Lineage:
    found: Lineage = request.app.state.lineage
    return found


def _parsed(model: type[M], values: dict[str, Any], place: str) -> M:
    try:
        return model.model_validate_strings(values)
    except ValidationError as error:
        raise _located(rejection(error, b"query"), place) from None


def _located(error: ApiError, *place: str) -> ApiError:
    """`error` whose details are of the query or path, not the body."""
    for item in error.detail or []:
        item["loc"] = [*place, *item["loc"][1:]]
    return error


def _json(found: tree.Explained) -> Response:
    return Response(to_json(found.as_json()), media_type="application/json")
