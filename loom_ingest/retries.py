"""What makes a retry harmless: the same request gives the same `message_id` and `timestamp`, so the same row."""

from collections import OrderedDict
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from loom_contracts.topic import Topic
from loom_ingest.errors import ApiError, Code

MOST_REMEMBERED: Final = 20_000
LONGEST_KEY: Final = 255
_NAMESPACE: Final = UUID("6b3f4d8e-3c0f-5b53-9d5c-6d1f0b0c7a11")


class Retries:
    """The times given to messages that came with an identity and without a time, the newest 20,000 of them.

    A client that sends its own `timestamp` needs none of this: its retry is the same row by itself.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[UUID, datetime] = OrderedDict()

    def time_of(self, message_id: UUID, now: datetime) -> datetime:
        """The time given to this message when it first came; `now` when it is new."""
        known = self._times.get(message_id)
        if known is not None:
            return known
        self._times[message_id] = now
        if len(self._times) > MOST_REMEMBERED:
            self._times.popitem(last=False)
        return now


def known_key(key: bytes) -> bytes:
    """`key`, when it can be an Idempotency-Key; raises the 400."""
    if not 0 < len(key) <= LONGEST_KEY:
        raise ApiError(
            400,
            Code.INVALID_IDEMPOTENCY_KEY,
            f"Idempotency-Key has {len(key)} characters: it must be of 1 to {LONGEST_KEY}, such as a UUID",
        )
    return key


def identity(topic: Topic, device_id: str, key: bytes, index: int | None = None) -> UUID:
    """The `message_id` of what `device_id` sends with the header `Idempotency-Key: key`; `index` is its place in a
    batch.
    """
    return uuid5(_NAMESPACE, "\0".join((topic.name, device_id, key.decode("latin-1"), str(index))))
