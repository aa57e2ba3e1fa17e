"""A removal or a sweep in a process of its own, which kills itself at a point: `python -m tests.blobs.process`.

Its arguments: `remove` or `sweep`, the database, the store, the point, how many times it is passed before.
"""

import os
import signal
import sys
from datetime import timedelta

import psycopg

from loom_platform.blobs import open_blobs
from loom_platform.blobs.sweep import sweep


def main(what: str, url: str, root: str, point: str, times: str) -> None:
    passed = 0

    def on_point(name: str) -> None:
        nonlocal passed
        if name == point:
            passed += 1
            if passed > int(times):
                os.kill(os.getpid(), signal.SIGKILL)

    blobs = open_blobs(root, url)
    with psycopg.connect(url, autocommit=True) as connection:
        if what == "sweep":
            sweep(blobs.objects, connection, older_than=timedelta(0), on_point=on_point)
        else:
            refs = [ref for (ref,) in connection.execute("DELETE FROM device_audio_raw RETURNING audio_ref").fetchall()]
            blobs.remove_unreferenced(connection, refs, on_point=on_point)


if __name__ == "__main__":
    main(*sys.argv[1:])
