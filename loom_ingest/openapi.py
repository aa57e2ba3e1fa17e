"""How routes that parse their own body are described in the OpenAPI document."""

from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from loom_contracts.topic import Topic
from loom_ingest.errors import Code

_DEFS: Final = "$defs"
_ENVELOPE: Final = frozenset({"schema_version", "trace_id", "span_id"})
_REFERENCE: Final = "#/components/schemas/{model}"


class Accepted(BaseModel):
    """The broker has the record."""

    status: Literal["success"]
    message_id: UUID
    topic: str


class AudioAccepted(Accepted):
    """The broker has the chunk."""

    timestamp: str = Field(examples=["2026-01-15T08:30:00.000Z"])


class AppsAccepted(Accepted):
    """The broker has the list."""

    app_count: int


class MetadataAccepted(Accepted):
    """The broker has the metadata."""

    metadata_type: str


class AppStats(BaseModel):
    """What is taken of applications."""

    app_monitoring_enabled: bool
    max_apps_per_request: int
    supported_platforms: list[str]
    topics: dict[str, str]


class MetadataType(BaseModel):
    """One type of metadata."""

    description: str
    example: dict[str, Any]


class MetadataTypes(BaseModel):
    """The types of metadata that the guide names."""

    supported_types: dict[str, MetadataType]
    topic: str
    max_size: str


class AudioConnections(BaseModel):
    """The audio streams that are open, and what came since the service started."""

    active_connections: int
    connected_devices: list[str]
    total_messages_received: int
    uptime_seconds: float


class BatchError(BaseModel):
    """Why one item of a batch was not taken."""

    index: int
    code: Code
    message: str
    detail: list[dict[str, Any]] = []


class BatchAccepted(BaseModel):
    """What became of a batch: `success` when all was taken, else `partial`."""

    status: Literal["success", "partial"]
    total: int
    processed: int
    failed: int
    errors: list[BatchError]


class ErrorAnswer(BaseModel):
    """Any answer that is not a success."""

    status: Literal["error"]
    message: str
    code: Code
    details: dict[str, Any]
    request_id: str
    timestamp: str


class ValidationErrorAnswer(ErrorAnswer):
    """A 422, with one element for each thing that is wrong."""

    detail: list[dict[str, Any]] | None = None


ERRORS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"model": ErrorAnswer, "description": "The body is not JSON."},
    403: {"model": ErrorAnswer, "description": "The device is not registered, and it has to be."},
    413: {"model": ErrorAnswer, "description": "The body is too large."},
    415: {"model": ErrorAnswer, "description": "The body is not announced as JSON."},
    422: {"model": ValidationErrorAnswer, "description": "A field is missing, of a wrong type or out of its range."},
    429: {
        "model": ErrorAnswer,
        "description": "The device sends too much.",
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}},
    },
    500: {"model": ErrorAnswer, "description": "The service failed."},
    503: {
        "model": ErrorAnswer,
        "description": "The broker did not acknowledge; keep the data and try again.",
        "headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}},
    },
}


def request_schema(topic: Topic) -> dict[str, Any]:
    """The JSON Schema of one message of `topic` as the service takes it."""
    schema = topic.payload.model_json_schema(mode="validation")
    schema["properties"]["schema_version"]["pattern"] = rf"^{topic.major_version}\.[0-9]+$"
    return schema


def named(schema: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    """`schema` as a component of the document, by its title or `name`."""
    name = name or str(schema["title"])
    inner = {key: value for key, value in schema.items() if key != _DEFS}
    return {"$ref": f"#/{_DEFS}/{name}", _DEFS: {**schema.get(_DEFS, {}), name: inner}}


def operation(topic: Topic, model: type[BaseModel] = Accepted) -> dict[str, Any]:
    """Keywords of a route that takes one message of `topic`."""
    schema = named(request_schema(topic))
    return described(schema, example_of(topic), model) | {
        "response_description": f"The broker has it, on {topic.name}."
    }


def example_of(topic: Topic) -> dict[str, Any]:
    """The topic's example, without what the service adds; without a time too, so that it can be tried at any time."""
    added = {*_ENVELOPE, "message_id", "timestamp"}
    return {key: value for key, value in topic.example.items() if key not in added}


def described(schema: dict[str, Any], example: Any, model: type[BaseModel]) -> dict[str, Any]:
    """Keywords of a route whose JSON body has this schema and whose answer is a `model` with 201."""
    content = {"application/json": {"schema": schema, "example": example}}
    parameter = {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        # Spaces and quotation marks around it do not count.
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r'[^"\s]'},
        "description": "The same for each try of one request: it is then stored once.",
    }
    return {
        "status_code": 201,
        "responses": {201: {"model": model}, **ERRORS},
        "openapi_extra": {"parameters": [parameter], "requestBody": {"required": True, "content": content}},
    }


def hoist_definitions(document: dict[str, Any]) -> dict[str, Any]:
    """`document` with every request schema's `$defs` moved to its components, where references find them."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            for name, definition in node.pop(_DEFS, {}).items():
                schemas.setdefault(name, walk(definition))
            reference = node.get("$ref")
            if isinstance(reference, str) and reference.startswith(f"#/{_DEFS}/"):
                node["$ref"] = _REFERENCE.format(model=reference.rpartition("/")[2])
            for value in list(node.values()):
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)
        return node

    walk(document["paths"])
    return document
