"""`loom explain`: where a row came from, and what came of it."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.tree import Tree

    from loom_platform.lineage.explain import Node

app = typer.Typer()

_Day = Annotated[datetime | None, typer.Option("--day", formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="UTC day.")]


@app.command()
def explain(
    message_id: Annotated[str, typer.Argument(metavar="MESSAGE_ID", help="As in a row, or an answer of the API.")],
    topic: Annotated[str | None, typer.Option("--topic", help="Look only in its table; quicker.")] = None,
    day: _Day = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the raw events that a row was made from, by which stage, version and run; and what was derived from it."""
    import json
    from uuid import UUID

    from loom_contracts.errors import ContractError
    from loom_contracts.topics.registry import topic_named
    from loom_platform.cli.output import console, reported
    from loom_platform.lineage.explain import explain as explained
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role

    try:
        identity = UUID(message_id)
        wanted = topic_named(topic) if topic is not None else None
    except ValueError:
        raise typer.BadParameter(f"{message_id!r} is not a UUID", param_hint="MESSAGE_ID") from None
    except ContractError as error:
        raise typer.BadParameter(str(error), param_hint="--topic") from None
    with reported(), Platform().connect("explain", Role.READ) as connection:
        found = explained(connection, identity, topic=wanted, day=day.date() if day else None)
    if as_json:
        typer.echo(json.dumps({"from": found.up.as_json("from"), "to": found.down.as_json("to")}))
        return
    console.print(_tree(found.up, "made from"))
    if found.down.children:
        console.print(_tree(found.down, "derived from it"))


def _tree(node: "Node", beneath: str) -> "Tree":
    from rich.markup import escape
    from rich.tree import Tree

    facts = node.facts()
    head = f"[bold]{escape(node.topic.name)}[/] {node.message_id}"
    body = "\n".join(f"[dim]{name:18}[/] {escape(str(value))}" for name, value in facts.items())
    tree = Tree(f"{head}\n{body}")
    under = tree.add(f"[cyan]{beneath}[/]") if node.children else tree
    for child in node.children:
        under.add(_tree(child, beneath))
    for topic, count in node.more.items():
        under.add(f"{count:,} more rows of {escape(topic.name)}")
    return tree
