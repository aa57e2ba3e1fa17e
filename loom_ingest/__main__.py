"""`python -m loom_ingest`: the service, until SIGTERM or Ctrl-C; then it delivers what it took and ends."""

import signal
import sys

from loom_ingest.app import app_from_environment
from loom_ingest.errors import SettingsError
from loom_ingest.logging import configure_logging
from loom_ingest.server.run import serve
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
    serve(f"{app_from_environment.__module__}:{app_from_environment.__name__}", settings)
    return 0


if __name__ == "__main__":
    sys.exit(main())
