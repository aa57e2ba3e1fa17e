"""How routes that take pictures and sound, as JSON or as a form with a file, are described in the OpenAPI document."""

from typing import Any, Final

from pydantic import BaseModel

from loom_contracts.message import StoredBody
from loom_contracts.topic import Topic
from loom_ingest.openapi import Accepted, described, example_of, named, request_schema

BASE64: Final = r"(?:[A-Za-z0-9+/_-]{4})*[A-Za-z0-9+/_-]{2,4}[=.]*$"
"""Base64 in either alphabet (RFC 4648), with or without its padding, of a byte or more; line ends do not count."""
_IMAGE_URL: Final = r"data:image/(?:jpe?g|png|webp|hei[cf])[;,]"
_IMAGE_STARTS: Final = r"/9j/|iVBORw0KGgo|UklGR"
_DERIVED: Final = ("channels", "duration_ms")
_HIDDEN: Final = frozenset({"schema_version", "trace_id", "span_id"})


def media_operation(topic: Topic, *, model: type[BaseModel] = Accepted, **defaults: Any) -> dict[str, Any]:
    """Keywords of a route that takes one message of `topic` as JSON, or as a form with a file."""
    schema = request_schema(topic)
    field = next(n for n, f in topic.payload.model_fields.items() if any(isinstance(m, StoredBody) for m in f.metadata))
    sound = "sample_rate" in schema["properties"]
    # The type beside the reference has schemathesis look at the whole of it before it calls a body invalid.
    whole = named(_json(schema, field, sound=sound)) | {"type": "object"}
    keywords = described(whole, example_of(topic) | defaults, model)
    content = keywords["openapi_extra"]["requestBody"]["content"]
    content["multipart/form-data"] = {"schema": _form(schema, field, sound=sound)}
    return keywords | {"response_description": f"The broker has it, on {topic.name}."}


def _json(schema: dict[str, Any], field: str, *, sound: bool) -> dict[str, Any]:
    """What `field` may be called and how it may be written; what may be left out since the body tells it."""
    properties = dict(schema["properties"])
    pattern = f"^{BASE64}" if sound else f"^(?:data:[^,]*,)?{BASE64}"
    body = {key: properties[field][key] for key in ("title", "description")}
    body |= {"type": "string", "contentEncoding": "base64", "pattern": pattern}
    properties |= {field: body, "data": {"description": f"Stands for `{field}`, where that is not there."}}
    bodies = [
        {"required": [field]},
        {"required": ["data"], "properties": {"data": body, field: False}},
    ]
    absent = _DERIVED if sound else ("format",)
    for name in absent:
        properties[name] = _nullable(properties[name])
    required = [name for name in schema["required"] if name not in (field, *absent)]
    told = schema | {"properties": properties, "required": required}
    if sound:
        return told | {"allOf": [{"anyOf": bodies}]}
    shown = {"type": "string", "pattern": rf"^(?:{_IMAGE_URL}|(?:data:[^,]*,)?(?:{_IMAGE_STARTS}))"}
    formats = [
        {"required": ["format"], "properties": {"format": {"type": "string"}}},
        {"required": [field], "properties": {field: shown}},
        {"required": ["data"], "properties": {"data": shown, field: False}},
    ]
    return told | {"allOf": [{"anyOf": bodies}, {"anyOf": formats}]}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    said = {key: schema[key] for key in ("title", "description") if key in schema}
    return said | {"anyOf": [{k: v for k, v in schema.items() if k not in said}, {"type": "null"}]}


def _form(schema: dict[str, Any], field: str, *, sound: bool) -> dict[str, Any]:
    """The form: all is text in it, and what would be null is left out."""
    plain = {name: _text(part) for name, part in schema["properties"].items() if name not in (field, *_HIDDEN)}
    plain["format"] = plain["format"] | {"description": "May be left out where the file's type or name tells it."}
    file = {"type": "string", "contentMediaType": "application/octet-stream", "minLength": 1}
    required = ["device_id", "file", "format", *(("sample_rate",) if sound else ())]
    return {"type": "object", "properties": {**plain, "file": file}, "required": required}


def _text(schema: dict[str, Any]) -> dict[str, Any]:
    choices: list[dict[str, Any]] = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {k: v for k, v in schema.items() if k not in ("anyOf", "default")} | choices[0]
