"""`python -m loom_ingest`: the service, until SIGTERM or Ctrl-C; then it delivers what it took and ends."""

import signal
import sys

import uvicorn

from loom_ingest.app import app_from_environment
from loom_ingest.errors import SettingsError
from loom_ingest.logging import configure_logging
from loom_ingest.settings import load_settings


def main() -> int:
    """Serve; the exit status."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"loom_ingest: {error}\n")
        return 2
    configure_logging(settings.log_threshold)
    # uvicorn repeats the signal when it has shut down, to whoever handled it before.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        f"{app_from_environment.__module__}:{app_from_environment.__name__}",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        loop="uvloop",
        http="httptools",
        log_config=None,
        log_level=settings.log_threshold.lower(),
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="websockets-sansio",
        # A frame of a stream is one chunk of audio; what is longer ends the connection with 1009.
        ws_max_size=settings.max_audio_body_bytes,
        # One read of compressed frames may hold a thousand times its size, before anyone can pause the client.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout_seconds)),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
