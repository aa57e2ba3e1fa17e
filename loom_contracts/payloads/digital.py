"""The person's digital life: what they copy and which pages they visit."""

from typing import Literal

from pydantic import Field

from loom_contracts.message import Message
from loom_contracts.payloads.common import JsonObject, Label, Text


class ClipboardContent(Message):
    """Something was copied."""

    content: Text = Field(description="The text; for other types, a description or a reference.")
    content_type: Label = Field("text/plain", description="Media type of what was copied.")
    source_app: Label | None = Field(None, description="Application that it was copied from.")
    truncated: bool = Field(False, description="Whether the device cut it short.")


class WebAnalyticsEvent(Message):
    """Something happened on a web page."""

    url: Text = Field(min_length=1, description="Address of the page.")
    event_type: Label = Field("page_view", description="page_view, click, scroll, submit, or the site's own word.")
    title: Text | None = Field(None, description="Title of the page.")
    referrer: Text | None = Field(None, description="Address of the page before.")
    session_id: Label | None = Field(None, description="Same for all events of one visit.")
    duration_seconds: float | None = Field(None, ge=0.0, description="Time on the page, seconds.")
    source: Literal["browser", "site"] | None = Field(None, description="Whether the visitor or the site says so.")
    user_agent: Text | None = Field(None, description="Browser that was used.")
    properties: JsonObject | None = Field(None, description="Anything else that the source says.")
