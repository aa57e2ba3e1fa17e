"""A backup or restore in a process of its own, which kills itself at a named point: `python -m tests.backup.process`.

Its only argument is JSON: `settings`, `source`, `at`.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from loom_platform.backup.restore import restore
from loom_platform.settings import load_settings


def main(order: dict[str, Any]) -> None:
    def on_point(point: str) -> None:
        if point == order["at"]:
            os.kill(os.getpid(), signal.SIGKILL)

    restore(load_settings(**order["settings"]), Path(order["source"]), replace=True, on_point=on_point)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
