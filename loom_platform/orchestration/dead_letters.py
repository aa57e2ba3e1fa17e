"""`loom deadletters replay` and `discard` as a job that a person launches from the UI; its config says which."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum

import dagster as dg
from pydantic import Field

from loom_models.stage import Stage
from loom_platform.orchestration.interrupts import stop_on_interrupt
from loom_platform.orchestration.platform import Platform
from loom_platform.roles.limits import Role
from loom_platform.stream import letters
from loom_platform.stream.api import Replayed, Wanted, replay_letters


class Action(Enum):
    """What is done with the letters."""

    REPLAY = "replay"
    DISCARD = "discard"
    COUNT = "count"


class DeadLettersConfig(dg.Config):
    """Which open letters are meant: those that meet every condition that is given."""

    action: Action = Field(
        default=Action.COUNT,
        description="replay: give them to their stage again; discard: put them aside; count: only say how many.",
    )
    stage: str | None = Field(default=None, description="Of this stage, such as georegion-detector; all when left out.")
    reason: str | None = Field(default=None, description="With this text in the reason, in any case.")
    since: str | None = Field(
        default=None, description="That failed from then on: 2026-11-21 or 2026-11-21T08:30, UTC."
    )
    until: str | None = Field(default=None, description="That failed before then.")


def dead_letters_job(stages: Sequence[Stage]) -> dg.JobDefinition:
    """The job, over the letters of `stages`."""
    known = {s.name: s for s in stages}

    @dg.op(name="settle_dead_letters", description="Replays, discards or counts the open dead letters that are meant.")
    def settle(context: dg.OpExecutionContext, config: DeadLettersConfig, platform: dg.ResourceParam[Platform]) -> None:
        wanted = wanted_of(config, known)
        with platform.connect("deadletters", Role.STREAM) as connection:
            counts = letters.count(connection, wanted)
            told: dict[str, int] = {f"{name}: open": number for name, number in counts.items()}
            if config.action is Action.DISCARD:
                told = {"discarded": letters.discard(connection, wanted)}
        if config.action is Action.REPLAY:
            told = _replay(context, platform, wanted, [known[name] for name in counts if name in known])
        context.log.info(", ".join(f"{what} {number:,}" for what, number in told.items()) or "no such dead letters")
        context.add_output_metadata(dict(told))

    @dg.job(
        name="dead_letters",
        executor_def=dg.in_process_executor,
        description="Records that a stage could not process, given to it again when it is mended, or put aside. "
        "Launch it with what is meant: stage, reason, since, until.",
    )
    def job() -> None:
        settle()

    return job


def wanted_of(config: DeadLettersConfig, known: dict[str, Stage]) -> Wanted:
    """The letters that `config` means; raises dg.Failure, which says what to correct."""
    if config.stage is not None and config.stage not in known:
        raise dg.Failure(
            f"stage: there is no stage {config.stage!r}; there are {', '.join(known)}", allow_retries=False
        )
    return Wanted(config.stage, config.reason, _moment("since", config.since), _moment("until", config.until))


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise dg.Failure(
            f"{name}: {text!r} is not a time; write 2026-11-21 or 2026-11-21T08:30, in UTC", allow_retries=False
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _replay(
    context: dg.OpExecutionContext, platform: Platform, wanted: Wanted, stages: Sequence[Stage]
) -> dict[str, int]:
    told: dict[str, int] = {}
    config = platform.stream_config(context.run.run_id)
    with stop_on_interrupt() as stop:
        # Derived stages read what the landing stages have landed.
        for stage in sorted(stages, key=lambda s: not s.landing):
            done: Replayed = replay_letters(stage, wanted, config, on_progress=lambda _: None, stop=stop)
            told |= {f"{stage.name}: replayed": done.replayed, f"{stage.name}: failed again": done.failed}
            for reason, number in done.reasons.items():
                context.log.warning(f"{stage.name}: {number:,} x {reason}")
    return told
