"""The engine's face: everything that the rest of the platform may use of it."""

from loom_platform.stream.backlog import backlog, reset_offsets, wait_for_backlog
from loom_platform.stream.config import StreamConfig
from loom_platform.stream.engine import run_stream
from loom_platform.stream.letters import Letter, LetterGroup, Wanted
from loom_platform.stream.recompute import recompute
from loom_platform.stream.replay_letters import Replayed, replay_letters
from loom_platform.stream.report import Lag, StageReport, StageSummary

__all__ = [
    "Lag",
    "Letter",
    "LetterGroup",
    "Replayed",
    "StageReport",
    "StageSummary",
    "StreamConfig",
    "Wanted",
    "backlog",
    "recompute",
    "replay_letters",
    "reset_offsets",
    "run_stream",
    "wait_for_backlog",
]
