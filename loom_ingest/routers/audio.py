"""Sound: chunks of a recording."""

from fastapi import APIRouter, Request, Response

from loom_contracts.topics.device import AUDIO_RAW
from loom_ingest.accept import accepted, check, context_of, read_json, send, services_of
from loom_ingest.audio import parse_chunk
from loom_ingest.errors import timestamp_text
from loom_ingest.openapi import AudioAccepted, operation
from loom_ingest.route import IngestRoute

router = APIRouter(tags=["audio"], route_class=IngestRoute)


@router.post("/audio/upload", **operation(AUDIO_RAW, AudioAccepted))
async def upload(request: Request) -> Response:
    """Take one chunk of audio; `data` may stand for `chunk_data`, and `channels` and `duration_ms` be left out."""
    services = services_of(request)
    body = await read_json(request, services.settings.max_audio_body_bytes)
    message = check(parse_chunk(body), AUDIO_RAW, services.settings)
    await send(services, AUDIO_RAW, message, context_of(request))
    return accepted(AUDIO_RAW, message, timestamp=timestamp_text(message.timestamp))
