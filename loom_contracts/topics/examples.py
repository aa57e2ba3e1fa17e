"""Examples of whole messages: a fixed envelope beside the payload that a topic shows."""

from typing import Any, Final

_ENVELOPE: Final = {
    "schema_version": "1.0",
    "message_id": "550e8400-e29b-41d4-a716-446655440000",
    "device_id": "phone-001",
    "timestamp": "2026-01-15T08:30:00.000000Z",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "span_id": "00f067aa0ba902b7",
}


def message(**payload: Any) -> dict[str, Any]:
    """A message with this payload; an envelope field given here takes the place of the fixed one."""
    return _ENVELOPE | payload


def derived(stage: str, stage_version: str = "1", **payload: Any) -> dict[str, Any]:
    """A message with this payload that `stage` made."""
    return message(
        message_id="0d0a6f2e-7f0c-5b0e-9a53-4f1f6f0c2d11",
        source_message_id="550e8400-e29b-41d4-a716-446655440000",
        stage=stage,
        stage_version=stage_version,
        **payload,
    )


PNG: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
"""A picture of one pixel."""

WAV: Final = "UklGRigAAABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQQAAAAAAAAA"
"""Two samples of silence, 16 kHz mono."""
