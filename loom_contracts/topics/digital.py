"""Topics of the person's digital life."""

from typing import Final

from loom_contracts.payloads.digital import ClipboardContent, WebAnalyticsEvent
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import message

CLIPBOARD_RAW: Final = Topic(
    "digital.clipboard.raw",
    ClipboardContent,
    "What is copied.",
    message(content="https://example.org/", content_type="text/plain", source_app="org.mozilla.firefox"),
    consumers=("landing-digital-clipboard-raw",),
)
WEB_ANALYTICS_RAW: Final = Topic(
    "digital.web_analytics.raw",
    WebAnalyticsEvent,
    "Visits to web pages.",
    message(
        url="https://example.org/article",
        event_type="page_view",
        title="An article",
        referrer="https://example.org/",
        session_id="visit-0001",
        duration_seconds=42.0,
        source="browser",
    ),
    consumers=("landing-digital-web_analytics-raw",),
)
