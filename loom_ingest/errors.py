"""What can go wrong, in the guide's shape: status, message, code, details, request_id and timestamp."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from pydantic_core import to_json

JSON: Final = b"application/json"


class IngestError(Exception):
    """The base error of this package."""


class SettingsError(IngestError):
    """A variable in the environment has a value that cannot be used."""


class Code(StrEnum):
    """What `code` of an error answer can be."""

    MALFORMED_REQUEST = "MALFORMED_REQUEST"
    MALFORMED_JSON = "MALFORMED_JSON"
    MALFORMED_FORM = "MALFORMED_FORM"
    MALFORMED_ENCODING = "MALFORMED_ENCODING"
    INVALID_IDEMPOTENCY_KEY = "INVALID_IDEMPOTENCY_KEY"
    MISSING_FIELD = "MISSING_FIELD"
    INVALID_TYPE = "INVALID_TYPE"
    INVALID_VALUE = "INVALID_VALUE"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    TIMESTAMP_OUT_OF_RANGE = "TIMESTAMP_OUT_OF_RANGE"
    UNKNOWN_SCHEMA_VERSION = "UNKNOWN_SCHEMA_VERSION"
    UNKNOWN_SENSOR_TYPE = "UNKNOWN_SENSOR_TYPE"
    TOO_MANY_APPS = "TOO_MANY_APPS"
    BATCH_TOO_LONG = "BATCH_TOO_LONG"
    BATCH_REJECTED = "BATCH_REJECTED"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    HEADERS_TOO_LARGE = "HEADERS_TOO_LARGE"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    RATE_LIMITED = "RATE_LIMITED"
    TOO_MANY_CONNECTIONS = "TOO_MANY_CONNECTIONS"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    INSUFFICIENT_SCOPE = "INSUFFICIENT_SCOPE"
    DEVICE_NOT_ALLOWED = "DEVICE_NOT_ALLOWED"
    DEVICE_NOT_REGISTERED = "DEVICE_NOT_REGISTERED"
    DEVICE_NOT_FOUND = "DEVICE_NOT_FOUND"
    DEVICE_EXISTS = "DEVICE_EXISTS"
    ROW_NOT_FOUND = "ROW_NOT_FOUND"
    BUCKET_NOT_FOUND = "BUCKET_NOT_FOUND"
    EVENT_NOT_FOUND = "EVENT_NOT_FOUND"
    FORCE_REQUIRED = "FORCE_REQUIRED"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    CLIENT_DISCONNECTED = "CLIENT_DISCONNECTED"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    HTTP_ERROR = "HTTP_ERROR"
    KAFKA_UNAVAILABLE = "KAFKA_UNAVAILABLE"
    TOPIC_UNAVAILABLE = "TOPIC_UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class ApiError(IngestError):
    """An answer that is not a success.

    `details` maps a field to what was wrong with it; `detail` is the guide's list of a 422; `extra` are further
    members of the answer's object; `headers` are further headers.
    """

    def __init__(
        self,
        status: int,
        code: Code,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        detail: list[dict[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = dict(details or {})
        self.detail = detail
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> bytes:
        """The answer's JSON."""
        content: dict[str, Any] = {
            "status": "error",
            "message": self.message,
            "code": self.code,
            "details": self.details,
            "request_id": request_id,
            "timestamp": timestamp_text(datetime.now(UTC)),
            **self.extra,
        }
        if self.detail is not None:
            content["detail"] = self.detail
        return to_json(content, inf_nan_mode="strings")


class BrokerUnavailableError(ApiError):
    """The broker did not acknowledge the record; the client keeps it and tries again."""

    def __init__(self, message: str, *, retry_after_seconds: int = 2) -> None:
        super().__init__(
            503,
            Code.KAFKA_UNAVAILABLE,
            message,
            details={"remedy": "keep the data and send it again after Retry-After seconds"},
            headers={"Retry-After": str(retry_after_seconds)},
        )


class DatabaseUnavailableError(ApiError):
    """PostgreSQL does not answer; ingest goes on without it."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            503,
            Code.DATABASE_UNAVAILABLE,
            f"The database of devices cannot be used: {reason}",
            details={"remedy": "start PostgreSQL, or set LOOM_DATABASE_URL; data is taken all the same"},
            headers={"Retry-After": "5"},
        )


class TopicUnavailableError(ApiError):
    """The broker is there, and has no such topic or does not let the service write to it."""

    def __init__(self, topic: str) -> None:
        super().__init__(
            503,
            Code.TOPIC_UNAVAILABLE,
            f"The broker has no topic {topic!r}; create it with `loom topics create`",
            details={"topic": topic},
            headers={"Retry-After": "10"},
        )


class OverloadedError(ApiError):
    """More is in flight than the service may hold."""

    def __init__(self, message: str) -> None:
        super().__init__(
            503,
            Code.OVERLOADED,
            message,
            details={"remedy": "keep the data and send it again after Retry-After seconds"},
            headers={"Retry-After": "1"},
        )


class RecordTooLargeError(ApiError):
    """The broker or the producer refuses a record of this size."""

    def __init__(self, topic: str, size: int) -> None:
        super().__init__(
            413,
            Code.PAYLOAD_TOO_LARGE,
            f"A record of {size} bytes is larger than the broker accepts on {topic!r}; send shorter pieces",
            details={"size_bytes": size},
        )


def timestamp_text(moment: datetime) -> str:
    """`moment` (UTC) as the guide writes times: milliseconds and a Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
