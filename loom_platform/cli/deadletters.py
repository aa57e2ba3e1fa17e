"""`loom deadletters`: records that a stage could not process; look at them, replay them, or put them aside."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loom_platform.stream.api import Letter, Replayed, Wanted

app = typer.Typer(help="Records that a stage could not process.", no_args_is_help=True)

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_Stage = Annotated[str | None, typer.Option("--stage", help="Of this stage.")]
_Reason = Annotated[str | None, typer.Option("--reason", help="With this text in the reason.")]
_Since = Annotated[datetime | None, typer.Option("--since", formats=_FORMATS, help="That failed from then on, UTC.")]
_Until = Annotated[datetime | None, typer.Option("--until", formats=_FORMATS, help="That failed before then, UTC.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only say what would be done.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Place = Annotated[
    str | None, typer.Argument(metavar="[STAGE:PARTITION:OFFSET]", help="One letter, as `list --each` shows it.")
]


@app.command("list")
def list_letters(
    stage: _Stage = None,
    reason: _Reason = None,
    since: _Since = None,
    until: _Until = None,
    state: Annotated[str, typer.Option(help="open, replayed, discarded or all.")] = "open",
    each: Annotated[bool, typer.Option("--each", help="One line a letter; without it, those alike together.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Of lines with --each.")] = 50,
    as_json: _Json = False,
) -> None:
    """Show what could not be processed, and why."""
    from loom_platform.stream import letters

    wanted = _wanted(None, stage, reason, since, until, state)
    with _database() as connection:
        found: list[Any] = list(
            letters.letters(connection, wanted, limit) if each else letters.groups(connection, wanted)
        )
        total = sum(letters.count(connection, wanted).values())
    if as_json:
        _print_json([row._asdict() for row in found])
        return
    _show_each(found, total) if each else _show_groups(found)


@app.command("show")
def show(place: Annotated[str, typer.Argument(metavar="STAGE:PARTITION:OFFSET")], as_json: _Json = False) -> None:
    """Show one letter with its bytes."""
    from loom_platform.cli.output import console
    from loom_platform.stream import letters

    wanted = _wanted(place, None, None, None, None, "all")
    with _database() as connection:
        found = letters.letters(connection, wanted, 10)
        values = [letters.value_of(connection, letter) for letter in found]
    if not found:
        raise typer.BadParameter(f"there is no dead letter {place!r}; `loom deadletters list --each` shows them")
    for letter, value in zip(found, values, strict=True):
        text = None if value is None else value.decode(errors="backslashreplace")
        if as_json:
            _print_json(letter._asdict() | {"value": text})
            continue
        for name, item in letter._asdict().items():
            console.print(f"{name:14} {item}", markup=False)
        console.print(f"{'value':14} {text}", markup=False)


@app.command("replay")
def replay(
    place: _Place = None,
    stage: _Stage = None,
    reason: _Reason = None,
    since: _Since = None,
    until: _Until = None,
    yes: _Yes = False,
) -> None:
    """Give letters to their stage again, when it is mended. What is there already stays as it is."""
    import threading

    from loom_platform.cli.offsets import find_stage
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.stream.api import replay_letters

    wanted = _wanted(place, stage, reason, since, until, "open")
    counts = _counted(wanted)
    # Derived stages read what the landing stages have landed.
    stages = sorted((find_stage(name) for name in counts), key=lambda s: not s.landing)
    if not yes:
        _say_untouched({s.name: counts[s.name] for s in stages}, "replayed")
        return
    failed = 0
    with reported():
        for each in stages:

            def tell(done: "Replayed", name: str = each.name) -> None:
                console.print(f"{name}: {done.replayed:,} replayed, {done.failed:,} failed again")

            config = Platform().stream_config("cli-replay")
            done = replay_letters(each, wanted, config, on_progress=tell, stop=threading.Event())
            for why, number in done.reasons.items():
                console.print(f"  {number:,} x {why}", markup=False)
            failed += done.failed
    if failed:
        raise typer.Exit(1)


@app.command("discard")
def discard(
    place: _Place = None,
    stage: _Stage = None,
    reason: _Reason = None,
    since: _Since = None,
    until: _Until = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take a discard back.")] = False,
    yes: _Yes = False,
) -> None:
    """Put letters aside: they are listed no more and count as settled. Nothing is deleted; --undo takes it back."""
    from loom_platform.cli.output import console
    from loom_platform.stream import letters

    wanted = _wanted(place, stage, reason, since, until, "discarded" if undo else "open")
    counts = _counted(wanted)
    if not yes:
        _say_untouched(counts, "open again" if undo else "discarded")
        return
    with _database() as connection:
        number = letters.reopen(connection, wanted) if undo else letters.discard(connection, wanted)
    console.print(f"{number:,} {'open again' if undo else 'discarded'}")


def _wanted(
    place: str | None,
    stage: str | None,
    reason: str | None,
    since: datetime | None,
    until: datetime | None,
    state: str,
) -> "Wanted":
    from loom_platform.cli.offsets import find_stage
    from loom_platform.stream.api import Wanted

    if state not in ("open", "replayed", "discarded", "all"):
        raise typer.BadParameter(
            f"{state!r} is not a state: use open, replayed, discarded or all", param_hint="--state"
        )
    partition = offset = None
    if place is not None:
        if stage is not None:
            raise typer.BadParameter("the letter names its stage; leave --stage out", param_hint="--stage")
        stage, _, numbers = place.partition(":")
        first, _, second = numbers.partition(":")
        if not (first.isdigit() and second.isdigit()):
            raise typer.BadParameter(f"{place!r} is not STAGE:PARTITION:OFFSET, such as silero-vad:0:42")
        partition, offset = int(first), int(second)
    if stage is not None:
        find_stage(stage)
    moments = [m and m.replace(tzinfo=UTC) for m in (since, until)]
    return Wanted(stage, reason, moments[0], moments[1], partition, offset, state)  # type: ignore[arg-type]


def _database() -> Any:
    from contextlib import ExitStack, contextmanager

    from loom_platform.cli.output import reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role

    @contextmanager
    def opened() -> Any:
        with ExitStack() as stack:
            stack.enter_context(reported())
            yield stack.enter_context(Platform().connect("deadletters", Role.STREAM))

    return opened()


def _counted(wanted: "Wanted") -> dict[str, int]:
    from loom_platform.cli.output import console
    from loom_platform.stream import letters

    with _database() as connection:
        counts = letters.count(connection, wanted)
    if not counts:
        console.print("no such dead letters")
        raise typer.Exit
    return counts


def _say_untouched(counts: dict[str, int], what: str) -> None:
    from loom_platform.cli.output import console

    for name, number in counts.items():
        console.print(f"{name}: {number:,} would be {what}")
    console.print("nothing was changed; add --yes to do it")


def _show_groups(groups: list[Any]) -> None:
    from rich.markup import escape
    from rich.table import Column, Table

    from loom_platform.cli.output import console

    if not groups:
        console.print("no dead letters")
        return
    table = Table(
        Column("stage", no_wrap=True), Column("letters", justify="right"), "last", "reason", box=None, pad_edge=False
    )
    for group in groups:
        reason = escape(f"{group.error_type}: {group.reason}")
        table.add_row(group.stage, f"{group.letters:,}", f"{group.last_at:%Y-%m-%d %H:%M}", reason)
    console.print(table)


def _show_each(found: "list[Letter]", total: int) -> None:
    from rich.markup import escape
    from rich.table import Column, Table

    from loom_platform.cli.output import console

    if not found:
        console.print("no dead letters")
        return
    columns = (Column("letter", no_wrap=True), "failed", Column("tries", justify="right"), "state", "device", "reason")
    table = Table(*columns, box=None, pad_edge=False)
    for letter in found:
        table.add_row(
            f"{letter.stage}:{letter.partition}:{letter.offset}",
            f"{letter.occurred_at:%Y-%m-%d %H:%M}",
            str(letter.attempts),
            letter.state,
            letter.device_id or "-",
            escape(f"{letter.error_type}: {letter.reason}"),
        )
    console.print(table)
    if total > len(found):
        console.print(f"{total - len(found):,} more; --limit shows more at once")


def _print_json(value: Any) -> None:
    import json

    typer.echo(json.dumps(value, default=str))
