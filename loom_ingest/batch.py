"""Many readings in one request: each is taken or refused for itself."""

from typing import Any, Final

from fastapi import Request, Response
from pydantic_core import to_json

from loom_contracts.message import Message
from loom_contracts.topic import Topic
from loom_contracts.topics.device import HUMIDITY_RAW, TEMPERATURE_RAW
from loom_ingest.accept import admit, context_of, identified, record_of, services_of
from loom_ingest.body import read_json
from loom_ingest.errors import ApiError, Code
from loom_ingest.openapi import BatchAccepted, described
from loom_ingest.openapi_readings import BATCH
from loom_ingest.readings import reading_of
from loom_ingest.retries import known_key
from loom_ingest.validation import parse_json

BATCH_OPERATION: Final = described(
    BATCH,
    [
        {key: topic.example[key] for key in ("device_id", "sensor_type", "value", "unit")}
        for topic in (TEMPERATURE_RAW, HUMIDITY_RAW)
    ],
    BatchAccepted,
)


async def accept_batch(request: Request) -> Response:
    """Take the readings in the body; answers 201 when the broker has every one that is valid.

    A 503 says which were stored before the broker went; none of a batch is lost when it is sent again whole.
    """
    services, context = services_of(request), context_of(request)
    if context.idempotency_key is not None:
        known_key(context.idempotency_key)
    items = parse_json(await read_json(request, services.settings.max_body_bytes))
    if not isinstance(items, list):
        raise ApiError(
            422,
            Code.INVALID_TYPE,
            f"Invalid data type for field 'body': expected array, got {type(items).__name__}",
            details={"body": "expected a JSON array of readings"},
            detail=[],
        )
    limit = services.settings.batch_max_items
    if len(items) > limit:
        raise ApiError(
            422,
            Code.BATCH_TOO_LONG,
            f"The batch has {len(items)} items: at most {limit} are taken at once; send the rest in another",
            details={"limit": limit, "items": len(items)},
            detail=[],
        )
    errors: list[dict[str, Any]] = []
    taken: list[tuple[int, Topic, Message]] = []
    for index, item in enumerate(items):
        try:
            topic, message = reading_of(item, services.settings)
        except ApiError as error:
            services.metrics.item_rejected(error.code)
            errors.append(_error(index, error))
        else:
            taken.append((index, topic, identified(services, topic, message, context, index)))
    await admit(services, context, *{message.device_id for _, _, message in taken})
    records = [record_of(services, topic, message, context) for _, topic, message in taken]
    outcomes = await services.producer.send_all(records)
    stored = 0
    unavailable: ApiError | None = None
    for (index, topic, message), outcome in zip(taken, outcomes, strict=True):
        if outcome is None:
            stored += 1
            services.devices.seen(message.device_id, topic.name)
        else:
            services.metrics.item_rejected(outcome.code)
            errors.append(_error(index, outcome))
            unavailable = outcome if outcome.status == 503 else unavailable
    errors.sort(key=lambda error: int(error["index"]))
    result = {"total": len(items), "processed": stored, "failed": len(errors), "errors": errors}
    if unavailable is not None:
        unavailable.extra = result
        raise unavailable
    if items and not stored:
        reason = f"None of the {len(items)} items was taken: {errors[0]['message']}"
        raise ApiError(422, Code.BATCH_REJECTED, reason, detail=[], extra=result)
    return Response(
        to_json({"status": "partial" if errors else "success", **result}), 201, media_type="application/json"
    )


def _error(index: int, error: ApiError) -> dict[str, Any]:
    detail = [{**item, "loc": ["body", index, *item["loc"][1:]]} for item in error.detail or []]
    return {"index": index, "code": error.code, "message": error.message, "detail": detail}
