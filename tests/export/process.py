"""An export or an import in a process of its own that kills itself: `process.py WHAT URL STORE DIR POINT`."""

import os
import signal
import sys
from pathlib import Path

from loom_platform.blobs import open_blobs
from loom_platform.export import write
from loom_platform.export.load import load
from loom_platform.export.selection import Selection


def main() -> None:
    task, url, blobs, out, point = sys.argv[1:]

    def progress(what: str, rows: int, size: int) -> None:
        if point in (what, f"{what}:{rows}"):
            os.kill(os.getpid(), signal.SIGKILL)

    store = open_blobs(blobs, url)
    if task == "import":
        load(url, store, Path(out), progress=progress, after=lambda _: 0)
        return
    if point == "manifest":
        write.folder.finish = lambda out, manifest: progress("manifest", 0, 0)  # type: ignore[attr-defined]
    write.export(url, store, Path(out), Selection(audit=True), progress=progress)


if __name__ == "__main__":
    main()
