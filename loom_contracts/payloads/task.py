"""Addresses to be worked on, and what was found at them."""

from typing import Literal

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage, Message
from loom_contracts.payloads.common import Count, JsonObject, Label, Part, Sha256, Text


class UrlTask(Message):
    """An address that someone, or a scraper, wants processed."""

    url: Text = Field(min_length=1, max_length=8_192, description="The address.")
    kind: Literal["auto", "twitter", "hackernews", "pdf", "web"] = Field("auto", description="How to process it.")
    origin: Label | None = Field(None, description="Where it was found, such as the name of a scraper.")
    priority: int = Field(0, ge=-10, le=10, description="Higher goes first.")
    metadata: JsonObject | None = Field(None, description="Anything else that is known of it.")


class ArchivedPost(Part):
    """One post of a thread, or one comment."""

    id: Label = Field(description="The site's identifier.")
    parent_id: Label | None = Field(None, description="What it answers.")
    author: Label | None = Field(None, description="Who wrote it.")
    text: Text = Field(description="Its text.")
    posted_at: AwareDatetime | None = Field(None, description="When, UTC.")


class ArchivedMedia(Part):
    """A file kept with an archived page."""

    url: Text = Field(min_length=1, description="Where it came from.")
    content_type: Label = Field(description="Media type.")
    ref: Label = Field(description="Where it lies in object storage.")
    sha256: Sha256 = Field(description="SHA-256, hexadecimal.")
    size_bytes: Count = Field(description="Size, bytes.")


class ArchivedTwitter(DerivedMessage):
    """A post on Twitter/X and its thread, as they were."""

    url: Text = Field(min_length=1, description="Address of the post.")
    tweet_id: Label = Field(description="The site's identifier.")
    author_handle: Label = Field(description="Who wrote it, without the @.")
    text: Text = Field(description="Its text.")
    posts: list[ArchivedPost] = Field(default_factory=list, description="The thread, oldest first.")
    media: list[ArchivedMedia] = Field(default_factory=list, description="Images and videos in it.")


class ArchivedHackerNews(DerivedMessage):
    """A Hacker News item and its comments, as they were."""

    url: Text = Field(min_length=1, description="Address of the item.")
    item_id: Count = Field(description="The site's identifier.")
    title: Text | None = Field(None, description="Its title.")
    points: int | None = Field(None, ge=-100_000, le=10_000_000, description="Points.")
    story_url: Text | None = Field(None, description="Page that it points at.")
    comments: list[ArchivedPost] = Field(default_factory=list, description="Comments, each after what it answers.")


class ExtractedPdf(DerivedMessage):
    """The text of a PDF."""

    url: Text = Field(min_length=1, description="Address after redirects.")
    title: Text | None = Field(None, description="Its title.")
    author: Text | None = Field(None, description="Who wrote it.")
    page_count: int = Field(ge=1, le=100_000, description="Number of pages.")
    text: Text = Field(description="Its text, pages parted by form feeds.")
    summary: Text | None = Field(None, description="A summary, where a model made one.")
    pdf_ref: Label = Field(description="Where the PDF lies in object storage.")
    pdf_sha256: Sha256 = Field(description="SHA-256 of the PDF, hexadecimal.")
    pdf_size_bytes: Count = Field(description="Size of the PDF, bytes.")
