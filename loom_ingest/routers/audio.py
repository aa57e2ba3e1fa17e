"""Sound: chunks of a recording, one by one or on a stream."""

from fastapi import APIRouter, Request, Response, WebSocket

from loom_contracts.payloads.audio import AudioChunk
from loom_contracts.topics.device import AUDIO_RAW
from loom_ingest.accept import context_of, services_of, take
from loom_ingest.audio import parse_chunk
from loom_ingest.body import Form, read_json_or_form
from loom_ingest.media import from_form
from loom_ingest.openapi import AudioAccepted, AudioConnections
from loom_ingest.openapi_media import media_operation
from loom_ingest.route import IngestRoute
from loom_ingest.stream import AudioStreams

router = APIRouter(prefix="/audio", tags=["audio"], route_class=IngestRoute)
streams = APIRouter(prefix="/audio", tags=["audio"])


@router.post("/upload", **media_operation(AUDIO_RAW, model=AudioAccepted))
async def upload(request: Request) -> Response:
    """Take one chunk of audio; `data` may stand for `chunk_data`, and `channels` and `duration_ms` be left out."""
    body = await read_json_or_form(request, services_of(request).settings.max_audio_body_bytes)
    message = from_form(AudioChunk, "chunk_data", body) if isinstance(body, Form) else parse_chunk(body)
    return await take(request, AUDIO_RAW, message, timed=True)


@streams.get("/connections")
async def connections(request: Request) -> AudioConnections:
    """The audio streams that are open now."""
    return _streams(request).connections(context_of(request).principal)


@streams.websocket("/stream/{device_id}")
async def stream(websocket: WebSocket, device_id: str) -> None:
    """Take audio chunk by chunk; each is acknowledged when the broker has it."""
    await _streams(websocket).serve(websocket, device_id)


def _streams(connection: Request | WebSocket) -> AudioStreams:
    found: AudioStreams = connection.app.state.streams
    return found
