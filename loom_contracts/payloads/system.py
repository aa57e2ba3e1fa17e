"""What runs on a device, and what the device is. Shapes: integration guide."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from loom_contracts.message import DerivedMessage, Message
from loom_contracts.payloads.common import Count, JsonObject, Label, Part, Text

Pid = Annotated[int, Field(ge=1, le=2**31 - 1)]
UnixSeconds = Annotated[float, Field(ge=0.0)]
BundleId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,256}$")]


class RunningApp(Part):
    """One running application."""

    pid: Pid = Field(description="Process id.")
    name: Text = Field(description="Name of the application.")
    active: bool = Field(description="Whether it is in front.")
    hidden: bool = Field(description="Whether it is hidden or in the background.")
    launch_date: UnixSeconds | None = Field(None, description="When it was started, seconds since 1970.")


class MacosApp(RunningApp):
    """One running macOS application."""

    bundle_id: BundleId = Field(description="Bundle identifier, or `unknown`.")


class AndroidApp(RunningApp):
    """One running Android application."""

    package_name: BundleId = Field(description="Package name.")
    version_code: Count | None = Field(None, description="Version code.")
    version_name: Text | None = Field(None, description="Version name.")


class MacosApps(Message):
    """The applications that run on a Mac."""

    running_applications: list[MacosApp] = Field(description="Those running.")


class AndroidApps(Message):
    """The applications that run on an Android device."""

    running_applications: list[AndroidApp] = Field(description="Those running.")


class AppUsage(Part):
    """How one application was used in a stretch of time."""

    package_name: BundleId = Field(description="Package name.")
    app_name: Text | None = Field(None, description="Name that the person sees.")
    total_time_foreground_ms: Count = Field(description="Time in the foreground, milliseconds.")
    launch_count: Count | None = Field(None, description="How often it was started.")
    first_used_at: AwareDatetime | None = Field(None, description="When it was first used in that time, UTC.")
    last_used_at: AwareDatetime | None = Field(None, description="When it was last used in that time, UTC.")


class AndroidUsage(Message):
    """What Android's UsageStats say of a stretch of time; `timestamp` is when they were read."""

    aggregation_period_start: AwareDatetime | None = Field(None, description="When that time begins, UTC.")
    aggregation_period_end: AwareDatetime | None = Field(None, description="When it ends, UTC.")
    usage_stats: list[AppUsage] = Field(description="The applications that were used.")


class ReconciledUsage(DerivedMessage):
    """One application's use over a stretch of time, by Android's UsageStats and by the events of the same time.

    `timestamp` is when the statistics were read. Readings of one stretch follow each other: of those with the same
    `period_start` the last one says most.
    """

    app_identifier: Label = Field(description="Package name.")
    app_name: Text | None = Field(None, description="Name that the person sees.")
    app_category: Label = Field(description="Such as communication, browser, game; unknown where none is known.")
    period_start: AwareDatetime = Field(description="When the stretch begins, UTC.")
    period_end: AwareDatetime = Field(description="When it ends, no later than it was read, UTC.")
    usage_seconds: float | None = Field(None, ge=0.0, description="In front, by UsageStats; null where they lack it.")
    events_seconds: float | None = Field(
        None, ge=0.0, description="In front, by its events; null where the stretch is longer than two days."
    )
    believed: Literal["usage", "events"] = Field(description="Which of the two is right.")
    reason: Literal["agree", "differ", "no_events", "no_usage", "usage_impossible", "not_compared"] = Field(
        description="Why; agree: ten seconds or a tenth apart at most. usage_impossible: longer than the stretch."
    )
    seconds: float = Field(ge=0.0, description="The one that is believed.")
    launch_count: Count | None = Field(None, description="How often it was started, by UsageStats.")


class Unrecognized(Message):
    """Something that a client sent and that could not be read, as it came, so that nothing of it is lost."""

    client: Label = Field(description="Which client's format it should have been: owntracks, overland, ...")
    reason: Text = Field(description="What was wrong with it.")
    body: Text = Field(description="What came: JSON or text.")


class DeviceMetadata(Message):
    """Something about a device that seldom changes."""

    metadata_type: Label = Field(
        description="device_capabilities, hardware_specs, software_config, network_info or custom."
    )
    metadata: JsonObject = Field(description="Shaped by its type.")
