"""`loom demo`: a simulated person's day, sent over the public HTTP API."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from io import TextIOWrapper

    from loom_platform.demo.events import DemoConfig
    from loom_platform.demo.send import Acknowledged, OnAcknowledged, SendReport

app = typer.Typer()

_SIMULATION = "The simulated day"
_FILES = "Files"
# One line for each paragraph: the help is wrapped to the terminal, and keeps line ends.
_HELP = (
    "Send a simulated person's day: positions along real tracks, motion, pulse, power, applications and screen, Wi-Fi "
    "and Bluetooth, surroundings and speech.\n\n"
    "The API takes what is at most 24 hours old, so the day lies in the past and ends now: at --speed 60 a day of 24 "
    "hours begins 23.6 hours ago and is sent in 24 minutes. At --speed 1 everything happens in the present. "
    "Ctrl-C ends it at any time."
)


@app.command(help=_HELP)
def demo(
    speed: Annotated[
        float, typer.Option(min=0.0, help="Seconds of the day that pass in one; 0 sends as fast as the API accepts.")
    ] = 60.0,
    hours: Annotated[
        float | None, typer.Option(min=0.001, help="Length of the day; default 24, or what --speed allows.")
    ] = None,
    rate: Annotated[
        float,
        typer.Option(
            min=0.001,
            max=1.0,
            help="Share of the full rate. At 1 accelerometer and microphone never pause: 65 events per second.",
        ),
    ] = 0.05,
    url: Annotated[str | None, typer.Option(help="Base URL of the ingest API; default that of the platform.")] = None,
    key: Annotated[
        str | None,
        typer.Option(envvar="LOOM_API_KEY", help="API key, where the API requires one.", show_envvar=True),
    ] = None,
    device: Annotated[str, typer.Option(help="device_id to send as.", rich_help_panel=_SIMULATION)] = "demo-phone",
    seed: Annotated[int, typer.Option(help="The same seed makes the same day.", rich_help_panel=_SIMULATION)] = 1,
    audio: Annotated[bool, typer.Option(help="Send spoken audio.", rich_help_panel=_SIMULATION)] = True,
    batch: Annotated[
        int,
        typer.Option(min=1, max=100, help="Accelerometer samples per request.", rich_help_panel=_SIMULATION),
    ] = 50,
    chunk_ms: Annotated[
        int | None,
        typer.Option(
            min=20, max=60_000, help="Length of an audio chunk; 1000, or 100 at --rate 1.", rich_help_panel=_SIMULATION
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="LOOM_DEMO_DATA",
            help="Folder with gps/*.gpx and speech/*.wav; default ../shared/data, else all is synthetic.",
            rich_help_panel=_FILES,
        ),
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="Write each accepted message here, as JSON lines.", rich_help_panel=_FILES)
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(help="Write what is true of the day here, as JSON.", rich_help_panel=_FILES)
    ] = None,
    places: Annotated[
        Path | None,
        typer.Option(help="Write the day's places here, for `loom georegions import`.", rich_help_panel=_FILES),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON, and no progress.")] = False,
) -> None:
    """Send a simulated person's day."""
    import asyncio
    import json
    from contextlib import ExitStack

    from loom_platform.cli.demo_progress import Progress
    from loom_platform.cli.output import complaints, reported
    from loom_platform.demo.events import DemoConfig, make_day
    from loom_platform.demo.send import SendConfig, SendReport, beginning, check_api, send
    from loom_platform.demo.truth import places_document, truth_document
    from loom_platform.settings import load_settings

    with reported(), ExitStack() as stack:
        folder = _data_folder(data)
        config = DemoConfig(
            seconds=_seconds(hours, speed),
            rate=rate,
            device=device,
            seed=seed,
            batch=batch,
            chunk_ms=chunk_ms,
            audio=audio,
            gps_folder=folder / "gps" if folder else None,
            speech_folder=folder / "speech" if folder else None,
        )
        settings = load_settings()
        host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104
        target = SendConfig(url or f"http://{host}:{settings.port}", device, speed, key=key)
        what_is_true, events = make_day(config)
        if places is not None:
            places.write_text(json.dumps(places_document(what_is_true), indent=2) + "\n", encoding="utf-8")
        asyncio.run(check_api(target.url))
        on_acknowledged = _logger(stack.enter_context(log.open("w", encoding="utf-8"))) if log is not None else None
        report = SendReport(beginning(config.seconds, speed))
        interrupted = False
        try:
            with Progress(config, target, report, what_is_true, quiet=as_json):
                interrupted = asyncio.run(_until_signalled(send(events, target, report, on_acknowledged)))
        finally:
            if truth is not None:
                document = truth_document(what_is_true, report.began)
                truth.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
            _conclude(report, config, as_json=as_json)
    for refusal in report.refusals:
        complaints.print(f"refused: {refusal}", style="red", markup=False)
    if interrupted or report.refused:
        raise typer.Exit(130 if interrupted else 1)


async def _until_signalled(sending: "Coroutine[None, None, None]") -> bool:
    """Await `sending`; True when Ctrl-C or SIGTERM ended it."""
    import asyncio
    import signal

    task = asyncio.ensure_future(sending)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return True
    return False


def _seconds(hours: float | None, speed: float) -> float:
    """Length of the day in seconds, when the API will take all of it."""
    from loom_platform.demo.send import longest_day
    from loom_platform.errors import PlatformError

    longest = longest_day(speed).total_seconds()
    if hours is None:
        return min(24 * 3_600.0, longest)
    if hours * 3_600 > longest:
        raise PlatformError(
            f"--hours {hours:g} at --speed {speed:g} begins more than 24 hours ago, which the API refuses: "
            f"give at most --hours {longest / 3_600:.1f}, or a lower --speed"
        )
    return hours * 3_600


def _data_folder(given: Path | None) -> Path | None:
    """The folder with tracks and speech; None when there is none and all is to be synthetic."""
    import loom_platform
    from loom_platform.errors import PlatformError

    if given is not None:
        if not given.is_dir():
            raise PlatformError(f"--data {given}: there is no such folder; leave it out for a synthetic day")
        return given
    beside = Path(loom_platform.__file__).resolve().parents[2] / "shared" / "data"
    return beside if beside.is_dir() else None


def _logger(file: "TextIOWrapper") -> "OnAcknowledged":
    """Writes a line for each accepted message."""
    import json
    from collections.abc import Sequence

    def write(accepted: "Sequence[Acknowledged]") -> None:
        for a in accepted:
            line = {"topic": a.message.topic.name, "message_id": a.message_id, "timestamp": a.timestamp}
            file.write(json.dumps({**line, "answered_at": a.answered_at}) + "\n")
        file.flush()

    return write


def _conclude(report: "SendReport", config: "DemoConfig", *, as_json: bool) -> None:
    import json

    from loom_platform.cli.output import console

    outcome = {
        "began": report.began.isoformat(),
        "seconds": config.seconds,
        "device": config.device,
        "accepted": report.total,
        "refused": report.refused,
        "requests": report.requests,
        "retries": report.retries,
        "latency_p50_ms": round(report.latency_s(0.5) * 1_000, 2),
        "latency_p99_ms": round(report.latency_s(0.99) * 1_000, 2),
        "topics": dict(sorted(report.acknowledged.items())),
    }
    if as_json:
        typer.echo(json.dumps(outcome))
        return
    for name, count in sorted(report.acknowledged.items()):
        console.print(f"{count:>9,}  {name}")
    console.print(
        f"{report.total:,} events accepted in {report.requests:,} requests, {report.refused} refused, "
        f"{report.retries} retries; answers in {outcome['latency_p50_ms']} ms (p50), "
        f"{outcome['latency_p99_ms']} ms (p99)"
    )
