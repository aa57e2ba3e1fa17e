"""Why a stream run ends before its time. Each message says what to do."""

from datetime import date


class StreamError(Exception):
    """Base of the engine's own errors."""


class FencedError(StreamError):
    """Another run has moved this stage on; this one must not write."""

    def __init__(self, stage: str, topic: str, partition: int, expected: int, found: int | None) -> None:
        super().__init__(
            f"stage {stage}: {topic}[{partition}] stands at {found}, this run expected {expected}: another run is "
            "ahead, so this one stops and its batch is rolled back. Nothing is to be done."
        )
        self.rewound = found is not None and found < expected


class RewoundError(StreamError):
    """A person has taken the stage back to earlier offsets; its run reads on from there."""

    def __init__(self, stage: str) -> None:
        super().__init__(f"stage {stage} was taken back to earlier offsets; it reads on from there")


class LeaseHeldError(StreamError):
    """Another live run owns this (stage, shard)."""

    def __init__(self, stage: str, shard: int, holder: str) -> None:
        super().__init__(f"stage {stage}, shard {shard}: {holder} is running it; stop that run, or wait for it to end")
        self.stage = stage


class LeaseLostError(StreamError):
    """This run was away for longer than its lease, and another may have taken it."""

    def __init__(self, stage: str, shard: int) -> None:
        super().__init__(f"stage {stage}, shard {shard}: the lease ran out while this run was stopped; it ends here")


class TopicRecreatedError(StreamError):
    """The topic is not the one that the stored offsets are of."""

    def __init__(self, stage: str, topic: str, stored: str, found: str) -> None:
        super().__init__(
            f"stage {stage}: topic {topic} was deleted and made again (id {stored} is now {found}), so its stored "
            f"offsets mean nothing. When that was meant: loom offsets reset {stage} --to earliest"
        )


class OffsetOutOfRangeError(StreamError):
    """The stored offset is no longer, or not any more, in the log."""

    def __init__(self, stage: str, topic: str, partition: int, stored: int, low: int, high: int) -> None:
        lost = f"{low - stored} records were removed before they were read" if stored < low else "the log was truncated"
        super().__init__(
            f"stage {stage}: {topic}[{partition}] is stored at offset {stored}, the log has {low} to {high}: {lost}. "
            f"To go on from what is there: loom offsets reset {stage} --to earliest"
        )


class TopicMissingError(StreamError):
    """The topic is not on the broker."""

    def __init__(self, topic: str) -> None:
        super().__init__(f"topic {topic} is not on the broker: make it with `loom topics create`")


class DaysDroppedError(StreamError):
    """Days that are to be computed again, and whose source went by retention."""

    def __init__(self, stage: str, table: str, days: list[date]) -> None:
        told = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"
        super().__init__(
            f"stage {stage}: rows of {told} in {table} have passed their retention and are gone, so the answers of "
            "then stay as they are: leave these days out, and see `loom retention list`"
        )


class TooLargeError(StreamError):
    """A message that the broker will never take; the record that it is made from can't be processed."""

    def __init__(self, topic: str, size: int) -> None:
        super().__init__(
            f"a message of {size} bytes for {topic} is more than the broker takes: raise its max.message.bytes, or "
            "have the stage store the body as a blob"
        )


class ProduceError(StreamError):
    """Some derived messages were not acknowledged; the batch is tried again."""
