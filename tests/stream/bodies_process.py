"""Landing of audio in a process of its own, which kills itself at a point: `python -m tests.stream.bodies_process`.

Its arguments: the configuration as JSON, the object store, the point.
"""

import json
import os
import signal
import sys
import threading
from datetime import timedelta

from loom_contracts.topics.device import AUDIO_RAW
from loom_models.landing import landing_stage
from loom_platform.blobs import open_blobs
from loom_platform.stream.api import StreamConfig, run_stream


def main(config: dict[str, str], store: str, point: str) -> None:
    def on_point(name: str) -> None:
        if name == point:
            os.kill(os.getpid(), signal.SIGKILL)

    told = StreamConfig(
        **config,  # type: ignore[arg-type]
        idle_timeout=timedelta(seconds=60),
        blobs=open_blobs(store, config["database_url"]),
        on_point=on_point,
    )
    run_stream([landing_stage(AUDIO_RAW)], told, on_report=lambda _: None, stop=threading.Event())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), *sys.argv[2:])
