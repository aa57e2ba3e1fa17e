"""The topic of what watchers see of a computer."""

from typing import Final

from loom_contracts.payloads.activity import WatcherEvent
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import message

ACTIVITYWATCH_RAW: Final = Topic(
    "digital.activitywatch.raw",
    WatcherEvent,
    "Windows, presence at the keyboard and pages that ActivityWatch's watchers saw.",
    message(
        device_id="laptop",
        bucket_id="aw-watcher-window_laptop",
        bucket_type="currentwindow",
        client="aw-watcher-window",
        hostname="laptop",
        generation=0,
        event_id="7d444840-9dc0-11d1-b245-5ffdce74fad2",
        revision=0,
        deleted=False,
        duration_seconds=42.5,
        pulsetime_seconds=2.0,
        data={"app": "Firefox", "title": "An article"},
    ),
    consumers=("landing-digital-activitywatch-raw",),
)
