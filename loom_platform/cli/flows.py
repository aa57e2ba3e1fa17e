"""`loom flows`: what is made of which source, stage by stage, and the specifications as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from loom_models.flows import Flow

app = typer.Typer(help="What is made of which source, stage by stage.", no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_command(as_json: _Json = False) -> None:
    """Show every flow with its priority and the rate to expect."""
    import json

    from rich.table import Column, Table

    from loom_models.flows import FLOWS
    from loom_models.specification import specification_of
    from loom_platform.cli.output import console

    if as_json:
        typer.echo(json.dumps([specification_of(flow).model_dump(mode="json") for flow in FLOWS]))
        return
    table = Table(
        "flow",
        "priority",
        Column("events/s", justify="right"),
        Column("stages", justify="right"),
        "what it makes",
        box=None,
        pad_edge=False,
    )
    for flow in FLOWS:
        table.add_row(flow.name, flow.priority, f"{flow.events_per_second:g}", f"{len(flow.stages)}", flow.description)
    console.print(table)


@app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(metavar="FLOW", help="A flow; `loom flows list` lists them.")],
) -> None:
    """Print the specification of FLOW as YAML."""
    from loom_models.flows import FLOWS

    flow = next((flow for flow in FLOWS if flow.name == name), None)
    if flow is None:
        raise typer.BadParameter(
            f"there is no flow {name!r}: the flows are {', '.join(flow.name for flow in FLOWS)}", param_hint="FLOW"
        )
    typer.echo(as_yaml(flow), nl=False)


@app.command("export")
def export_command(
    folder: Annotated[Path, typer.Argument(help="Where the files go; made when it is not there.")],
) -> None:
    """Write the specification and the picture of every flow, and the JSON Schema of the specifications, to FOLDER."""
    from loom_platform.cli.output import console

    for name, text in files().items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    console.print(f"{len(files())} files in {folder}", markup=False)


def files() -> dict[str, str]:
    """Every file of an export by name: the flows', their pictures and the schema."""
    import yaml

    from loom_models.drawing import drawing_of
    from loom_models.flows import FLOWS
    from loom_models.specification import SCHEMA_NAME, json_schema

    schema = yaml.safe_dump(json_schema(), sort_keys=False, allow_unicode=True, width=100)
    pictures = {f"{flow.name}.svg": drawing_of(flow) for flow in FLOWS}
    return {SCHEMA_NAME: schema, **{f"{flow.name}.yaml": as_yaml(flow) for flow in FLOWS}, **pictures}


def as_yaml(flow: "Flow") -> str:
    """The specification of `flow`."""
    import yaml

    from loom_models.specification import specification_of

    content = specification_of(flow).model_dump(mode="json")
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
