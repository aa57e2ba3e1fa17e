"""`loom networks`: what Wi-Fi networks are to you, and which Bluetooth devices are often near."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from loom_platform.networks import Network

app = typer.Typer(
    help="What Wi-Fi networks are to you: home, work, public, hotspot; and which Bluetooth devices are familiar.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NETWORK", help="Its name, as `list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_networks(as_json: AsJson = False) -> None:
    """Show every network that a device was on, what it is to you, and who says so."""
    from rich.markup import escape
    from rich.table import Column, Table

    from loom_platform import networks
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role

    with reported(), Platform().connect("networks", Role.READ) as connection:
        found = networks.learned(connection)
    if as_json:
        _print_json(found)
        return
    if not found:
        console.print("no device was on a network yet")
        return
    where = Column("where", no_wrap=True)
    counted = ("days", "nights", "workdays", "hours")
    table = Table("network", "category", "by", "sure", *counted, where, box=None, pad_edge=False)
    for one in found:
        counts = (str(one.days), str(one.nights), str(one.workdays), f"{one.total_seconds / 3600:.1f}")
        table.add_row(escape(one.network), one.category, one.category_by, f"{one.confidence:.0%}", *counts, _where(one))
    console.print(table)


@app.command("set")
def set_category(
    network: Name,
    category: Annotated[str, typer.Argument(metavar="CATEGORY", help="home, work, public, hotspot or other.")],
) -> None:
    """Say what a network is to you. It holds at once, and of the past."""
    from loom_platform import networks
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform

    with reported(), Platform().connect("networks") as connection:
        networks.set_category(connection, network, category)
    console.print(f"{network}: {category}", markup=False)


@app.command()
def unset(network: Name) -> None:
    """Take back what you said of a network: what is learned of it holds again."""
    from loom_platform import networks
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform

    with reported(), Platform().connect("networks") as connection:
        networks.unset_category(connection, network)
    console.print(f"{network}: as learned", markup=False)


@app.command()
def devices(
    everyone: Annotated[
        bool, typer.Option("--all", help="Also those that stayed for a while and were no more seen.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the Bluetooth devices that are your own, or often near."""
    from rich.markup import escape
    from rich.table import Table

    from loom_platform import networks
    from loom_platform.cli.output import console, reported
    from loom_platform.orchestration.platform import Platform
    from loom_platform.roles.limits import Role

    with reported(), Platform().connect("networks", Role.READ) as connection:
        found = networks.devices(connection, passing=everyone)
    if as_json:
        _print_json(found)
        return
    if not found:
        console.print("no device was near for long yet")
        return
    table = Table("device", "kind", "familiarity", "days", "hours", "last seen", box=None, pad_edge=False)
    for one in found:
        hours = f"{one.total_seconds / 3600:.1f}"
        seen = f"{one.last_seen_at:%Y-%m-%d %H:%MZ}"
        table.add_row(
            escape(one.name or one.address),
            escape(one.device_class or "-"),
            one.familiarity,
            str(one.days),
            hours,
            seen,
        )
    console.print(table)


def _where(network: "Network") -> str:
    from rich.markup import escape

    if network.region_name is not None:
        return escape(network.region_name)
    if network.latitude is None or network.longitude is None or not network.place_confidence:
        return "-"
    return f"{network.latitude:.4f}, {network.longitude:.4f}"


def _print_json(found: list[Any]) -> None:
    import json
    from dataclasses import asdict

    typer.echo(json.dumps([asdict(one) for one in found], default=str))
