"""Which directory is whose: each worker process has a slot of its own below LOOM_SPOOL_DIR, held by a lock."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final, NamedTuple

from loom_ingest.spool.disk import Disk
from loom_ingest.spool.errors import SpoolError

LOCK: Final = "lock"
_LOOK_AGAIN_SECONDS: Final = 0.1


class Slot(NamedTuple):
    """A directory that this process alone uses, as long as it keeps `lock` open."""

    directory: Path
    lock: int


def take_slots(root: Path, workers: int, wait_seconds: float) -> tuple[Slot, list[Slot]]:
    """A free slot below `workers`, and all free ones above: left by more workers than there are now, to be drained.

    Waits for one: the process before may still be ending. Raises SpoolError.
    """
    deadline = time.monotonic() + wait_seconds
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        Disk().sync_directory(root.parent)
        while (own := next(filter(None, (_take(root / str(n)) for n in range(workers))), None)) is None:
            if time.monotonic() > deadline:
                raise SpoolError(
                    f"LOOM_SPOOL_DIR={root}: {workers} other process(es) use it; end them, or choose another directory"
                )
            time.sleep(_LOOK_AGAIN_SECONDS)
        names = sorted((p.name for p in root.iterdir() if p.name.isdecimal() and int(p.name) >= workers), key=int)
        return own, [slot for name in names if (slot := _take(root / name)) is not None]
    except OSError as error:
        raise SpoolError(
            f"LOOM_SPOOL_DIR={root} cannot be used ({error.strerror}: {error.filename}); "
            "choose another directory, or turn the spool off with LOOM_SPOOL_MAX_BYTES=0"
        ) from error


def _take(directory: Path) -> Slot | None:
    directory.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return Slot(directory, fd)
