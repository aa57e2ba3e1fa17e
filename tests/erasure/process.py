"""An erasure in a process of its own, which kills itself at a named point: `python -m tests.erasure.process ORDER`."""

import json
import os
import signal
import sys
from datetime import datetime, timedelta
from typing import Any

from loom_platform.blobs import open_blobs
from loom_platform.erasure import run
from loom_platform.erasure.scope import Scope
from loom_platform.settings import load_settings
from loom_platform.stream.api import StreamConfig


def main(order: dict[str, Any]) -> None:
    settings = load_settings(**order["settings"])
    left = order["passes"]

    def on_point(point: str) -> None:
        nonlocal left
        if point == order["point"]:
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    scope = order["scope"]
    since, until = (datetime.fromisoformat(scope[n]) if n in scope else None for n in ("since", "until"))
    config = StreamConfig(settings.database_url, settings.kafka_bootstrap_servers, settings.kafka_topic_prefix)
    place = run.Place(settings, config, open_blobs(settings), settle=timedelta(0), on_point=on_point)
    with run.connect(settings.database_url) as connection:
        run.erase(connection, Scope(tuple(scope["devices"]), since, until), place, "test")
    place.blobs.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
