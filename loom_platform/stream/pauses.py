"""A stage that buries too much stands still, and says so, instead of draining its topic into the table of errors."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal

import psycopg

from loom_models.stage import Stage
from loom_platform.stream.errors import StreamError

Connection = psycopg.Connection[Any]

LEAST: Final = 50
"""With fewer dead letters than this, a share says nothing."""
WINDOW: Final = 1_000
"""Records whose letters are counted; a batch that is larger is counted whole."""

_PAUSED: Final = """
SELECT stage, paused_at, paused_by, reason FROM stage_pauses WHERE paused_at IS NOT NULL AND stage = ANY(%s)
"""
_PAUSE: Final = """
INSERT INTO stage_pauses AS p (stage, paused_at, paused_by, reason) VALUES (%s, now(), %s, %s)
ON CONFLICT (stage) DO UPDATE SET paused_at = EXCLUDED.paused_at, paused_by = EXCLUDED.paused_by,
    reason = EXCLUDED.reason WHERE p.paused_at IS NULL
"""
_RESUME: Final = """
UPDATE stage_pauses SET paused_at = NULL, paused_by = NULL, reason = NULL, tolerate_until = now() + %s
WHERE stage = %s AND paused_at IS NOT NULL
"""
_TOLERATED: Final = "SELECT tolerate_until > now() FROM stage_pauses WHERE stage = %s"


class StagePausedError(StreamError):
    """The stage is paused; it goes on when a person resumes it."""


class TooManyDeadLettersError(StreamError):
    """More dead letters than the stage's threshold allows; the batch was rolled back and nothing of it is lost."""

    def __init__(self, stage: Stage, letters: int, records: int, example: str) -> None:
        self.reason = (
            f"{letters:,} of {records:,} records could not be processed (more than {stage.policy.error_threshold:.0%} "
            f"is not normal), the last because of: {example}"
        )
        super().__init__(f"stage {stage.name}: {self.reason}")


class Threshold:
    """Counts the dead letters among the newest records of one stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._batches: deque[tuple[int, int]] = deque()
        self._records = self._letters = 0

    def check(self, records: int, poison: Mapping[int, tuple[str, str]]) -> None:
        """Raise TooManyDeadLettersError when the newest records, with these, hold too many that are poison."""
        letters = self._letters + len(poison)
        total = self._records + records
        # At the beginning of a run a few records would be a large share: they count as a part of a whole window.
        if poison and letters >= LEAST and letters > self._stage.policy.error_threshold * max(total, WINDOW):
            raise TooManyDeadLettersError(self._stage, letters, total, list(poison.values())[-1][1])

    def add(self, records: int, letters: int) -> None:
        """Count a batch that was committed."""
        self._batches.append((records, letters))
        self._records += records
        self._letters += letters
        while self._batches and self._records - self._batches[0][0] >= WINDOW:
            old_records, old_letters = self._batches.popleft()
            self._records -= old_records
            self._letters -= old_letters


def paused(connection: Connection, stages: Sequence[str]) -> dict[str, str]:
    """Why each of `stages` that is paused stands still, and how it goes on."""
    told = {}
    for stage, since, by, reason in connection.execute(_PAUSED, (list(stages),)).fetchall():
        who = "paused itself" if by == "stage" else "was paused"
        told[stage] = (
            f"stage {stage} {who} at {since:%Y-%m-%d %H:%M} UTC: {reason}. When it is mended: "
            f"loom stages resume {stage}"
        )
    return told


def pause(connection: Connection, stage: str, by: Literal["stage", "person"], reason: str) -> bool:
    """Have `stage` stand still; False when it does already."""
    clean = reason.replace("\x00", "\\u0000").encode(errors="replace").decode()
    return connection.execute(_PAUSE, (stage, by, clean)).rowcount > 0


def resume(connection: Connection, stage: str, tolerate: timedelta = timedelta(0)) -> bool:
    """Have `stage` go on, and bury what it likes for `tolerate`; False when it was not paused."""
    return connection.execute(_RESUME, (tolerate, stage)).rowcount > 0


def tolerated(connection: Connection, stage: str) -> bool:
    """Whether a person has said that many dead letters are in order now."""
    row = connection.execute(_TOLERATED, (stage,)).fetchone()
    return bool(row and row[0])
