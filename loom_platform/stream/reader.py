"""One batch read ahead: while a batch is written, the next is polled and decoded in a second thread."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from loom_platform.stream.decode import Decoded
from loom_platform.stream.source import Records

Batch = tuple[Records, Decoded]


class Reader:
    """Gives the batches of `read` one by one; never more than one is held ahead."""

    def __init__(self, read: Callable[[], Batch]) -> None:
        self._read = read
        self._pool: ThreadPoolExecutor | None = None
        self._next: Future[Batch] | None = None

    def take(self) -> Batch:
        """The batch that was read ahead, or else the next one; raises what the reading raised."""
        if self._next is None:
            return self._read()
        ahead, self._next = self._next, None
        return ahead.result()

    def ahead(self) -> None:
        """Start to read the next batch."""
        if self._next is None:
            # Made with the first backlog: a stage without one needs no second thread.
            self._pool = self._pool or ThreadPoolExecutor(1, thread_name_prefix="reader")
            self._next = self._pool.submit(self._read)

    def close(self) -> None:
        """Wait for the reading that goes on, and drop it: its records are read again from the stored offsets."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
