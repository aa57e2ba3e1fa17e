"""What the spool asks of the disk. One object, so that tests can fill it, break it and kill the process in between."""

import fcntl
import os
from pathlib import Path
from typing import Final

_FULL_SYNC: Final = getattr(fcntl, "F_FULLFSYNC", None)
"""macOS: fsync alone leaves the bytes in the drive's cache."""


class Disk:
    """The file system; every method raises OSError."""

    def create(self, path: Path) -> int:
        """A descriptor of a new file, whose name is durable."""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            self.sync_directory(path.parent)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        return fd

    def write(self, fd: int, data: bytes) -> None:
        """Append all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    def sync(self, fd: int) -> None:
        """Return when what was written is on the disk."""
        if _FULL_SYNC is not None:
            fcntl.fcntl(fd, _FULL_SYNC)
        else:
            os.fdatasync(fd)

    def write_position(self, fd: int, data: bytes, offset: int) -> None:
        """Write `data` in place, durably."""
        os.pwrite(fd, data, offset)
        self.sync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to `size`, durably."""
        os.ftruncate(fd, size)
        os.fsync(fd)

    def remove(self, path: Path) -> None:
        """Remove the file; a crash may bring it back."""
        path.unlink(missing_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Return when the names in the directory are on the disk."""
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
