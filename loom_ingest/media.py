"""Pictures and sound as clients send them: JSON with base64 in it, or a form with a file."""

from typing import Any, Final, TypeVar

from fastapi import Request, Response
from pydantic import ValidationError
from pydantic_core import to_json

from loom_contracts.message import Message, StoredBody
from loom_contracts.payloads.image import CameraImage
from loom_contracts.topic import Topic
from loom_ingest.accept import services_of, take
from loom_ingest.audio import canonical_base64, completed
from loom_ingest.body import Form, read_json_or_form
from loom_ingest.validation import parse_json, rejection, validated

M = TypeVar("M", bound=Message)

_IMAGE_TYPES: Final = {
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/png": "png",
    "image/webp": "webp",
    "image/heic": "heic",
    "image/heif": "heic",
}
_AUDIO_TYPES: Final = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/aac": "aac",
}
_SUFFIXES: Final = {
    "jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp", "heic": "heic", "heif": "heic",
    "wav": "wav", "mp3": "mp3", "flac": "flac", "aac": "aac",
}  # fmt: skip
_BASE64_STARTS: Final = (("/9j/", "jpeg"), ("iVBORw0KGgo", "png"), ("UklGR", "webp"))
"""The first bytes of each format, as base64 shows them."""


async def accept_image(request: Request, topic: Topic, kind: str | None = None) -> Response:
    """Take one picture of `topic`, JSON or form; `kind` is what a camera image is when it does not say."""
    limit = services_of(request).settings.max_audio_body_bytes
    body = await read_json_or_form(request, limit)
    message = parse_image(topic.payload, body)
    if kind is not None and isinstance(message, CameraImage) and "kind" not in message.model_fields_set:
        message = message.model_copy(update={"kind": kind})
    return await take(request, topic, message)


def parse_image(model: type[M], body: bytes | Form) -> M:
    """The message in `body`; raises the 400 or 422.

    `data` may stand for the body's field, base64 be of any alphabet or a data URL, and `format` be left out.
    """
    field = body_field(model)
    if isinstance(body, Form):
        return from_form(model, field, body)
    try:
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
            raise rejection(error, body) from None
    item = parse_json(body)
    if isinstance(item, dict):
        item = _completed_image(item, field)
    return validated(model, to_json(item))


def from_form(model: type[M], field: str, form: Form) -> M:
    """The message in a form, its file as `field`; raises the 422."""
    item = form.item(field)
    if form.file is not None:
        item.setdefault("format", _format_of(form))
        if form.file.filename and "file_name" in model.model_fields:
            item.setdefault("file_name", form.file.filename[-256:])
        if field == "chunk_data":
            item = _measured_form(item)
    item = {k: v for k, v in item.items() if v is not None}
    try:
        # Text is all that a form has, so numbers are read from it.
        return model.model_validate_strings(item)
    except ValidationError as error:
        raise rejection(error, b"form") from None


def body_field(model: type[Message]) -> str:
    """The field of `model` whose body goes to object storage."""
    return next(
        name for name, field in model.model_fields.items() if any(isinstance(m, StoredBody) for m in field.metadata)
    )


def _format_of(form: Form) -> str | None:
    file = form.file
    if file is None:
        return None
    found = _IMAGE_TYPES.get(file.content_type) or _AUDIO_TYPES.get(file.content_type)
    return found or _SUFFIXES.get((file.filename or "").rpartition(".")[2].lower())


def _measured_form(item: dict[str, Any]) -> dict[str, Any]:
    """`item` with channels and duration from the audio, as for JSON."""
    numbers = {k: int(item[k]) for k in ("sample_rate", "channels") if str(item.get(k, "")).isdecimal()}
    measured = completed({"chunk_data": item["chunk_data"]} | numbers)
    for name in ("channels", "duration_ms"):
        if name in measured:
            item.setdefault(name, str(measured[name]))
    return item


def _completed_image(item: dict[str, Any], field: str) -> dict[str, Any]:
    item = dict(item)
    if field not in item and "data" in item:
        item[field] = item.pop("data")
    text = item.get(field)
    if not isinstance(text, str):
        return item
    if text.startswith("data:"):
        media, _, text = text.removeprefix("data:").partition(",")
        named = _IMAGE_TYPES.get(media.partition(";")[0].lower())
        if named is not None and item.get("format") is None:
            item["format"] = named
    item[field] = text = canonical_base64(text)
    if item.get("format") is None:
        found = next((name for start, name in _BASE64_STARTS if text.startswith(start)), None)
        if found is not None:
            item["format"] = found
    return item
