"""`loom topics`: the topics of the contract, and what the broker has of them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loom_contracts.topic import Topic

app = typer.Typer(help="The topics that Loom's data flows through.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_topics(
    category: Annotated[str | None, typer.Option(help="Only device, os, media, ...")] = None, as_json: AsJson = False
) -> None:
    """List the topics, and whether the broker has them."""
    import json

    from rich.table import Column, Table

    from loom_contracts.topics.registry import TOPICS
    from loom_platform.cli.output import complaints, console
    from loom_platform.errors import ServiceError
    from loom_platform.settings import load_settings
    from loom_platform.topics import broker_topics

    settings = load_settings()
    topics = [t for t in TOPICS if category in (None, t.category)]
    if not topics:
        known = ", ".join(sorted({t.category for t in TOPICS}))
        raise typer.BadParameter(f"there is no category {category!r}; there are {known}", param_hint="--category")
    counts: dict[str, int] | None
    try:
        counts = broker_topics(settings.kafka_bootstrap_servers, timeout_s=3.0)
    except ServiceError as error:
        counts = None
        if not as_json:
            complaints.print(f"[yellow]{error}[/]")
    rows = [_row(t, settings.kafka_topic_prefix, counts) for t in topics]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    names = Column("topic", no_wrap=True, min_width=max(len(t.name) for t in topics))
    table = Table(names, "kept", "packed", "partitions", "what it carries", box=None, pad_edge=False)
    for row in rows:
        partitions = "?" if counts is None else str(row["partitions"] or "-")
        kept = f"{row['retention_days']:g} d"
        table.add_row(row["name"], kept, row["compression"], partitions, row["description"])
    console.print(table)


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of the topic.")], as_json: AsJson = False) -> None:
    """Show one topic: its payload, its table, who makes and who reads it, and an example."""
    import json

    from rich.table import Table

    from loom_contracts.errors import ContractError
    from loom_contracts.generate import schema_of
    from loom_contracts.topics.registry import topic_named
    from loom_platform.cli.output import complaints, console

    try:
        topic = topic_named(name)
    except ContractError as error:
        complaints.print(f"[red]{error}[/]")
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps({**_row(topic, "", None), "schema": schema_of(topic), "example": topic.example}))
        return
    console.print(f"[bold]{topic.name}[/]  {topic.description}")
    console.print(f"kept {topic.retention.days} days, compression {topic.compression}")
    console.print(f"made by {', '.join(topic.producers)}; read by {', '.join(topic.consumers) or 'no one yet'}")
    table = Table("column", "type", "what it is", title=f"table {topic.table.name}", title_justify="left", box=None)
    for column in topic.table.columns:
        table.add_row(column.name, f"{column.type}{'' if column.nullable else ' not null'}", column.description)
    console.print(table)
    console.print("an example:")
    console.print_json(json.dumps(topic.example))


@app.command()
def create(
    partitions: Annotated[int | None, typer.Option(min=1, help="In place of LOOM_KAFKA_DEFAULT_PARTITIONS.")] = None,
    replication_factor: Annotated[
        int | None, typer.Option(min=1, help="In place of LOOM_KAFKA_DEFAULT_REPLICATION_FACTOR.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create the topics that the broker lacks, and say where the others differ from the contract."""
    import json
    from dataclasses import asdict

    from loom_models.flows import STAGES
    from loom_platform.cli.output import console, reported
    from loom_platform.settings import load_settings
    from loom_platform.topics import create_topics

    with reported():
        settings = load_settings()
        report = create_topics(
            settings.kafka_bootstrap_servers,
            prefix=settings.kafka_topic_prefix,
            partitions=partitions or settings.kafka_default_partitions,
            replication_factor=replication_factor or settings.kafka_default_replication_factor,
            stages=[stage.name for stage in STAGES],
        )
    if as_json:
        typer.echo(json.dumps(asdict(report)))
        return
    for name in report.created:
        console.print(f"[green]created[/] {name}")
    for d in report.differences:
        console.print(f"[yellow]differs[/] {d.topic}: {d.setting} is {d.actual}, the contract says {d.expected}")
    console.print(f"{len(report.created)} created, {len(report.existing)} were there")


def _row(topic: "Topic", prefix: str, counts: dict[str, int] | None) -> dict[str, Any]:
    """What `list --json` says of a topic; `partitions` is null when the broker lacks it or is away."""
    return {
        "name": topic.name,
        "on_broker": topic.on_broker(prefix),
        "payload": topic.payload.__name__,
        "description": topic.description,
        "retention_days": topic.retention.total_seconds() / 86_400,
        "compression": topic.compression,
        "table": topic.table.name,
        "producers": list(topic.producers),
        "consumers": list(topic.consumers),
        "partitions": None if counts is None else counts.get(topic.on_broker(prefix)),
    }
