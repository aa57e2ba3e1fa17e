"""`loom up`, `down`, `clean`, `status`, `logs` and `doctor`: the platform on this machine."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def up(
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, show the logs, and stop everything at Ctrl-C.")
    ] = False,
) -> None:
    """Start the platform and wait until all of it is ready."""
    import time

    from loom_platform.cli.output import console, reported
    from loom_platform.cli.progress import ServiceProgress
    from loom_platform.cli.welcome import welcome
    from loom_platform.settings import load_settings
    from loom_platform.supervise.platform import up as start
    from loom_platform.supervise.stopping import down as stop
    from loom_platform.supervise.stopping import supervisor_of

    _terminate_like_interrupt()
    began = time.monotonic()
    with reported():
        settings = load_settings()
        progress = ServiceProgress(console)
        try:
            with progress.shown():
                platform = start(settings, progress)
            console.print(welcome(platform, time.monotonic() - began))
            if foreground:
                from loom_platform.cli.follow import follow

                follow(settings.logs_dir, None, supervisor_of(settings).alive)
        except KeyboardInterrupt:
            console.print("\nstopping")
            stop(settings, progress)
            raise typer.Exit(0 if foreground else 130) from None


@app.command()
def down() -> None:
    """Stop the platform; its data stays."""
    from loom_platform.cli.output import console, reported
    from loom_platform.cli.progress import ServiceProgress
    from loom_platform.settings import load_settings
    from loom_platform.supervise.stopping import down as stop

    with reported():
        progress = ServiceProgress(console)
        with progress.shown():
            there = stop(load_settings(), progress)
    console.print("Loom is stopped; its data stays." if there else "Loom was not running.")


@app.command()
def clean(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Stop the platform and remove all of its data, after asking."""
    import shutil

    from loom_platform.cli.output import console, reported
    from loom_platform.cli.progress import ServiceProgress
    from loom_platform.settings import load_settings
    from loom_platform.supervise.stopping import down as stop

    with reported():
        settings = load_settings()
        if not settings.data_dir.exists():
            console.print(f"{settings.data_dir} is not there; nothing to remove")
            return
        if not yes:
            typer.confirm(f"Remove every record, blob and log below {settings.data_dir}?", abort=True)
        stop(settings, ServiceProgress(console))
        for name in ("postgres", "kafka", "dagster", "blobs", "logs", "run", "spool"):
            shutil.rmtree(settings.data_dir / name, ignore_errors=True)
    console.print(f"The data below {settings.data_dir} is removed.")


@app.command()
def status(json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show what runs, and where; exits with 0 only when all is ready."""
    from loom_platform.cli.output import console, reported
    from loom_platform.settings import load_settings
    from loom_platform.supervise.status import platform_status

    with reported():
        told = platform_status(load_settings())
    if json:
        from json import dumps

        print(dumps(told.as_json(), indent=2))
    else:
        from loom_platform.cli.welcome import status_table

        console.print(status_table(told))
    if not told.ready:
        raise typer.Exit(1)


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help="A service of `loom status`; all of them by default.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines to show.")] = 50,
) -> None:
    """Show the end of a service's log."""
    from loom_platform.cli.follow import follow as follow_logs
    from loom_platform.cli.follow import log_files
    from loom_platform.cli.output import reported
    from loom_platform.settings import load_settings

    with reported():
        directory = load_settings().logs_dir
        log_files(directory, service)
        try:
            follow_logs(directory, service, lambda: follow, lines)
        except KeyboardInterrupt:
            raise typer.Exit(0) from None


@app.command()
def doctor() -> None:
    """Say what is missing on this machine, and the command that mends it."""
    from loom_platform.cli.output import console
    from loom_platform.supervise.doctor import examine

    _SIGNS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "error": "[red]✗[/]"}  # noqa: N806
    findings = examine()
    for finding in findings:
        console.print(f"{_SIGNS[finding.level]} {finding.what}: {finding.found}")
        if finding.remedy:
            console.print(f"    {finding.remedy}", style="bold", markup=False)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(1)


def _terminate_like_interrupt() -> None:
    import signal

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    # SIGINT too: a shell that puts a command into the background has it ignored
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
