"""`loom db`: the schema of the platform's database."""

import typer

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


@app.command("migrate")
def migrate_command() -> None:
    """Apply the migrations that are missing."""
    from loom_platform.cli.output import console, reported
    from loom_platform.migrate import migrate
    from loom_platform.settings import load_settings

    with reported():
        applied = migrate(load_settings().database_url)
    for name in applied:
        console.print(f"[green]applied[/] {name}")
    if not applied:
        console.print("nothing to apply")


@app.command("status")
def status_command() -> None:
    """List the migrations and which are applied; exits with 1 when some are not."""
    from loom_platform.cli.output import console, reported
    from loom_platform.migrate import status
    from loom_platform.settings import load_settings

    with reported():
        steps = status(load_settings().database_url)
    for step in steps:
        console.print(f"{'[green]applied[/]' if step.applied else '[yellow]missing[/]'} {step.name}")
    if not all(step.applied for step in steps):
        raise typer.Exit(1)
