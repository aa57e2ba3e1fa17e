"""What is the same for every operation of the OpenAPI document: answers that any of them can give, in both forms."""

from typing import Any, Final

from loom_contracts.payloads.common import NO_NUL
from loom_ingest.errors import Code
from loom_ingest.problems import MEANINGS, PAGE, PROBLEM_JSON

_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
_SCHEMAS: Final = "#/components/schemas/"
_JSON_VALUE: Final = {"$ref": f"{_SCHEMAS}JsonValue"}
_TEXT: Final = {"type": "string", "pattern": NO_NUL}

RETRY_AFTER: Final = {"schema": {"type": "integer", "minimum": 0}, "description": "Seconds to wait.", "required": True}

# What the connection, or the service as a whole, can answer to anything.
_ALWAYS: Final = {
    "400": "It is not HTTP/1.1, the body cannot be read, or the Idempotency-Key cannot be used.",
    "408": "It came too slowly.",
    "431": "Its headers are too large.",
    "500": "The service failed.",
    "503": "It cannot be done now; keep the data and send it again after `Retry-After` seconds.",
}
_EXAMPLES: Final = {
    "400": Code.MALFORMED_JSON,
    "401": Code.UNAUTHENTICATED,
    "403": Code.DEVICE_NOT_ALLOWED,
    "404": Code.NOT_FOUND,
    "408": Code.REQUEST_TIMEOUT,
    "409": Code.DEVICE_EXISTS,
    "413": Code.PAYLOAD_TOO_LARGE,
    "415": Code.UNSUPPORTED_MEDIA_TYPE,
    "422": Code.OUT_OF_RANGE,
    "429": Code.RATE_LIMITED,
    "431": Code.HEADERS_TOO_LARGE,
    "500": Code.INTERNAL_ERROR,
    "501": Code.NOT_IMPLEMENTED,
    "503": Code.KAFKA_UNAVAILABLE,
}
_REQUEST_ID: Final = "550e8400-e29b-41d4-a716-446655440000"
_TIMESTAMP: Final = "2026-01-15T08:30:00.000Z"

PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457's problem details, beside the members of an ErrorAnswer that it does not have.",
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "description": f"Where the code is explained: {PAGE}."},
        "title": {"type": "string", "description": "What the code means."},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "What is wrong this time; the same as `message`."},
        "instance": {"type": "string", "format": "uri", "description": "This request."},
        "message": {"type": "string"},
        "code": {"$ref": f"{_SCHEMAS}Code"},
        "details": {"type": "object"},
        "request_id": {"type": "string"},
        "timestamp": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}, "description": "The guide's `detail` list of a 422."},
    },
    "required": ["type", "title", "status", "detail", "instance", "message", "code", "details", "request_id"],
}


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """`document` with the answers that every operation can give, each error in the guide's form and in RFC 9457's."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = PROBLEM
    _tell_json_values(document, schemas)
    shared = document["components"].setdefault("responses", {})
    for operations in document["paths"].values():
        for method in operations.keys() & _METHODS:
            operation = operations[method]
            # The first sentence says more than the name of a function, which repeats the path.
            operation["summary"] = operation.get("description", operation["summary"]).partition("\n")[0].rstrip(".")
            responses = operation["responses"]
            for status, description in _ALWAYS.items():
                responses.setdefault(status, _error(description))
            for status, response in responses.items():
                if status >= "400" and _tell_error(status, response):
                    responses[status] = _shared(f"Error{status}", response, shared)
            operation["responses"] = dict(sorted(responses.items()))
    return document


def _shared(name: str, response: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """A reference to `response` among those that operations share; the first of its status has the plain name."""
    names = (name, *(f"{name}_{number}" for number in range(2, 100)))
    found = next(n for n in names if shared.setdefault(n, response) == response)
    return {"$ref": f"#/components/responses/{found}"}


def _error(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}ErrorAnswer"}}},
    }


def _tell_error(status: str, response: dict[str, Any]) -> bool:
    """Give `response` its other form, examples and headers, where it is the service's own error, and say whether."""
    content = response.get("content", {})
    guide = content.get("application/json", {})
    if not str(guide.get("schema", {}).get("$ref", "")).endswith("ErrorAnswer"):
        return False
    code = _EXAMPLES.get(status, Code.HTTP_ERROR)
    meaning = MEANINGS[code]
    said = {"message": meaning.title, "code": code, "details": {"remedy": meaning.remedy}}
    said |= {"request_id": _REQUEST_ID, "timestamp": _TIMESTAMP}
    guide.setdefault("example", {"status": "error", **said})
    rfc = {"type": f"{PAGE}#{code}", "title": meaning.title, "status": int(status), "detail": meaning.title}
    rfc["instance"] = f"urn:loom:request:{_REQUEST_ID}"
    content.setdefault(PROBLEM_JSON, {"schema": {"$ref": f"{_SCHEMAS}Problem"}, "example": rfc | said})
    if status in ("429", "503"):
        response.setdefault("headers", {})["Retry-After"] = RETRY_AFTER
    return True


def _tell_json_values(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Say of JSON that is kept as it comes what PostgreSQL's jsonb cannot hold: a NUL in a text or a name."""
    if "JsonValue" not in schemas:
        return
    schemas["JsonValue"] = {
        "description": "Any JSON value; no text in it has a NUL character.",
        "anyOf": [
            {"type": ["null", "boolean", "number"]},
            _TEXT,
            {"type": "array", "items": _JSON_VALUE},
            {"type": "object", "propertyNames": _TEXT, "additionalProperties": _JSON_VALUE},
        ],
    }

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if node.get("additionalProperties") == _JSON_VALUE:
                node["propertyNames"] = _TEXT
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)
