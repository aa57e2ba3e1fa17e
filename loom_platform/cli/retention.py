"""`loom retention`: how long things are kept, and what would go, or goes, because of it."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loom_platform.retention.days import Plan
    from loom_platform.retention.keeping import Keeper
    from loom_platform.retention.rules import Kept, Kind, Rules

app = typer.Typer(help="How long things are kept.", no_args_is_help=True)

_Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A topic, or how names begin: device, device.audio; or dagster.log."),
]
_Kafka = Annotated[bool, typer.Option("--kafka", help="What Kafka keeps, in place of the table.")]
_Rollups = Annotated[bool, typer.Option("--rollups", help="The roll-ups by minute and hour, in place of the table.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_command(as_json: _Json = False) -> None:
    """Show how long each topic's rows, roll-ups and messages are kept, and parts of Dagster's database."""
    import json
    from dataclasses import asdict
    from datetime import UTC

    from rich.table import Table

    from loom_platform.cli.output import console
    from loom_platform.retention.rules import DAGSTER, TABLED, Kind, told

    with _keeper() as (_, _, rules):
        pass
    kinds = (Kind.TABLE, Kind.ROLLUPS, Kind.KAFKA)
    kept = {t.name: {k.value: rules.of(k, t) for k in kinds} for t in TABLED}
    prunes = asdict(rules.dagster())
    if as_json:
        rows = {n: {k: _as_json(v) for k, v in each.items()} for n, each in kept.items()}
        parts = {f"dagster.{n}": length.total_seconds() / 86_400 for n, length in prunes.items()}
        typer.echo(json.dumps({"topics": rows, "dagster": parts}))
        return
    table = Table("topic", "rows and bodies", "roll-ups", "in Kafka", box=None, pad_edge=False)
    for name, each in kept.items():
        table.add_row(name, *(_cell(each[k.value]) for k in kinds))
    console.print(table)
    for topic in TABLED:
        begins = rules.begins(topic)
        if begins is not None and begins > datetime.now(UTC):
            console.print(f"{topic.name}: nothing goes before {begins:%F}; loom retention keep {topic.name} keeps all")
    console.print()
    table = Table("dagster", "kept", "what it is", box=None, pad_edge=False)
    for name, what in DAGSTER.items():
        length = prunes[name]
        table.add_row(f"dagster.{name}", told(None if length > timedelta(days=30_000) else length), what)
    console.print(table)


@app.command("set")
def set_command(
    name: _Name,
    length: Annotated[str, typer.Argument(metavar="LENGTH", help="30d, 52w; `loom retention keep` is for ever.")],
    kafka: _Kafka = False,
    rollups: _Rollups = False,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    as_json: _Json = False,
) -> None:
    """Keep what NAME tells of for LENGTH. What is older goes in the next night, or with `loom retention apply`."""
    from loom_platform.cli.asking import duration

    _say(name, duration(length, "LENGTH"), _kind(name, kafka, rollups), dry_run=dry_run, yes=yes, as_json=as_json)


@app.command("keep")
def keep_command(
    name: _Name, kafka: _Kafka = False, rollups: _Rollups = False, dry_run: _DryRun = False, as_json: _Json = False
) -> None:
    """Keep what NAME tells of for ever."""
    _say(name, None, _kind(name, kafka, rollups), dry_run=dry_run, yes=True, as_json=as_json)


@app.command("reset")
def reset_command(
    name: _Name,
    kafka: _Kafka = False,
    rollups: _Rollups = False,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    as_json: _Json = False,
) -> None:
    """Forget what was said of NAME: a wider name's length counts again, or the contract's."""
    _say(name, None, _kind(name, kafka, rollups), forget=True, dry_run=dry_run, yes=yes, as_json=as_json)


@app.command("apply")
def apply_command(dry_run: _DryRun = False, yes: _Yes = False, as_json: _Json = False) -> None:
    """Drop now what is past its retention, as the keeper does every night."""
    import json
    from dataclasses import asdict
    from datetime import UTC

    from loom_platform.cli.output import complaints, console
    from loom_platform.retention.keeping import holds_told

    now = datetime.now(UTC)
    with _keeper() as (keeper, _, rules):
        plans = keeper.plans(now, rules)
        if not as_json or dry_run:
            _show(plans, as_json=as_json)
        going = any(p.going for p in plans)
        if dry_run or not going:
            if not as_json:
                console.print("nothing was changed" if going else "nothing is to be dropped")
            return
        if not yes and not typer.confirm("Drop this? It cannot be taken back.", err=True):
            raise typer.Exit(1)
        with complaints.status("dropping") as status:
            done = keeper.keep(now, status.update, only_days=True)
    if as_json:
        typer.echo(json.dumps(asdict(done), default=str))
    else:
        for dropped in done.dropped:
            rows, bodies = sum(d.rows for d in dropped.days), dropped.bodies
            console.print(f"{dropped.topic}: dropped {len(dropped.days)} days, {rows:,} rows, {bodies:,} bodies")
            if dropped.holds or dropped.busy:
                why = holds_told(dropped.holds) or "others keep the table locked; try again"
                console.print(f"{dropped.topic}: the rest stays: {why}")
    for step, why in done.failed.items():
        complaints.print(f"[red]{step}: {why}[/]")
    if done.failed:
        raise typer.Exit(1)


def _say(
    name: str,
    length: timedelta | None,
    kind: "Kind",
    *,
    forget: bool = False,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Change one rule, after showing what would go by it."""
    from datetime import UTC

    from loom_platform.cli.asking import actor
    from loom_platform.cli.output import console
    from loom_platform.erasure.ledger import audit
    from loom_platform.retention.rules import Kind, named, read, told

    now = datetime.now(UTC)
    with _keeper() as (keeper, connection, rules):
        topics = named(kind, name)
        with connection.transaction(force_rollback=True):
            _change(connection, kind, name, length, forget=forget)
            then = read(connection)
        plans: list[Plan] = []
        if kind is Kind.TABLE:
            before = {p.topic: p for p in keeper.plans(now, rules, topics)}
            plans = keeper.plans(now, then, topics)
            more = any(p.cut > before[p.topic].cut if p.topic in before else p.going for p in plans)
        else:
            more = False
        if dry_run or (more and not as_json):
            _show(plans, as_json=as_json)
        if dry_run:
            if not as_json:
                _tell(kind, name, rules, then)
                console.print("nothing was changed")
            return
        if more and not yes and not typer.confirm(f"Keep {name} for {told(length)} only?", err=True):
            raise typer.Exit(1)
        with connection.transaction():
            _change(connection, kind, name, length, forget=forget)
            audit(connection, actor(), "retention.reset" if forget else "retention.set", f"{kind.value} {name}")
        if as_json:
            _show(plans, as_json=True)
        else:
            _tell(kind, name, rules, then)
            if more:
                console.print("what is older goes in the next night; `loom retention apply` drops it now")
        _equal(keeper, connection, now, quiet=as_json)


def _change(connection: Any, kind: "Kind", name: str, length: timedelta | None, *, forget: bool) -> None:
    from loom_platform.retention.rules import RetentionError, reset, write

    if not forget:
        from loom_platform.cli.asking import actor

        write(connection, kind, name, length, actor())
    elif not reset(connection, kind, name):
        raise RetentionError(f"nothing was said of {name!r}; `loom retention list` shows what counts")


def _equal(keeper: "Keeper", connection: Any, now: datetime, *, quiet: bool) -> None:
    """Change the broker at once, where it answers; else the keeper does."""
    from loom_models.errors import DependencyError
    from loom_platform.cli.output import complaints, console
    from loom_platform.retention import kafka
    from loom_platform.retention.rules import read

    settings = keeper.settings
    try:
        done = kafka.equal(
            connection,
            settings.kafka_bootstrap_servers,
            read(connection),
            keeper.stages,
            now,
            prefix=settings.kafka_topic_prefix,
        )
    except DependencyError as error:
        complaints.print(f"[yellow]Kafka is changed by the keeper in the next night: {error}[/]")
        return
    for change in done.changes:
        if change.setting == "retention.ms" and not quiet:
            console.print(f"Kafka: {change.topic} retention.ms {change.found} -> {change.wanted}")
    for topic, why in done.held.items():
        if not quiet:
            console.print(f"Kafka: {topic} removes nothing for now: {why}")


def _tell(kind: "Kind", name: str, before: "Rules", then: "Rules") -> None:
    from loom_platform.cli.output import console
    from loom_platform.retention.rules import Kind, named, told

    if kind is Kind.DAGSTER:
        console.print(f"{name}: {told(then.said.get((kind, name)))}")
    same = 0
    for topic in named(kind, name):
        now, was = then.of(kind, topic).length, before.of(kind, topic).length
        if now == was:
            same += 1
        else:
            console.print(f"{topic.name}: {_WHAT[kind.value]} kept {told(now)}, before {told(was)}")
    if same:
        console.print(f"{same} {'topic is' if same == 1 else 'topics are'} kept as long as before")


_WHAT = {"table": "rows and bodies", "rollups": "roll-ups", "kafka": "messages in Kafka"}


def _show(plans: "list[Plan]", *, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    from rich.table import Column, Table

    from loom_platform.cli.output import console
    from loom_platform.export.readme import size

    if as_json:
        typer.echo(json.dumps([asdict(p) for p in plans], default=str))
        return
    numbers = [Column(n, justify="right") for n in ("rows", "size")]
    for each in plans:
        table = Table("day", *numbers, "", box=None, pad_edge=False, title=each.topic, title_justify="left")
        for day in each.days:
            table.add_row(str(day.day), f"{day.rows:,}", size(day.bytes), "stays" if day.held else "goes")
        console.print(table)
        rows, taken = sum(d.rows for d in each.going), sum(d.bytes for d in each.going)
        bodies = f", {each.bodies:,} bodies of {size(each.body_bytes)}" if each.bodies else ""
        console.print(f"would go: {len(each.going):,} days, {rows:,} rows, {size(taken)}{bodies}")
        for hold in each.holds:
            console.print(f"stays: {hold.reason}")


def _kind(name: str, kafka: bool, rollups: bool) -> "Kind":
    from loom_platform.retention.rules import Kind

    if name.split(".")[0] == "dagster":
        return Kind.DAGSTER
    if kafka and rollups:
        raise typer.BadParameter("give one of --kafka and --rollups")
    return Kind.KAFKA if kafka else Kind.ROLLUPS if rollups else Kind.TABLE


def _cell(kept: "Kept") -> str:
    from loom_platform.retention.rules import told

    origin = {"contract": "", "table": " (as the rows)"}.get(kept.origin, f" (set for {kept.origin})")
    return told(kept.length) + origin


def _as_json(kept: "Kept") -> dict[str, Any]:
    days = None if kept.length is None else kept.length.total_seconds() / 86_400
    return {"days": days, "from": kept.origin}


def _keeper() -> Any:
    from collections.abc import Iterator
    from contextlib import contextmanager

    import psycopg

    from loom_platform.cli.output import reported
    from loom_platform.errors import PlatformError
    from loom_platform.retention.keeping import Keeper
    from loom_platform.retention.rules import read
    from loom_platform.settings import load_settings

    @contextmanager
    def opened() -> "Iterator[tuple[Keeper, psycopg.Connection[Any], Rules]]":
        with reported():
            keeper = Keeper(load_settings())
            try:
                with keeper.connect() as connection:
                    yield keeper, connection, read(connection)
            except psycopg.errors.UndefinedTable:
                raise PlatformError("the database has no table for this yet; run: loom db migrate") from None

    return opened()
