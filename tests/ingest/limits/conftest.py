"""The service as a process, without a broker: what it takes goes to a spool. Its deadlines are short."""

from collections.abc import Iterator

import pytest

from tests.ingest.limits.raw import NOBODY
from tests.ingest.server import LiveServer, live_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    deadlines = {"header_timeout_seconds": 1, "body_timeout_seconds": 1, "keep_alive_seconds": 1}
    limits = {"max_header_bytes": 8_192, "stream_max_frame_bytes": 65_536, "stream_inactivity_seconds": 4}
    with live_server(
        NOBODY,
        spool_dir=tmp_path_factory.mktemp("spool"),
        shutdown_timeout_seconds=1,
        log_level="WARNING",
        **deadlines,
        **limits,
    ) as server:
        yield server
