"""What is made of external sources: parsed mail, calendars with context, articles, embeddings."""

from typing import Literal

from pydantic import AwareDatetime, Field

from loom_contracts.message import DerivedMessage
from loom_contracts.payloads.common import Count, Label, Part, Scores, Sha256, Text


class Attachment(Part):
    """A file that came with a message."""

    name: Text | None = Field(None, description="Name of the file.")
    content_type: Label = Field(description="Media type.")
    size_bytes: Count = Field(description="Size, bytes.")
    ref: Label | None = Field(None, description="Where it lies in object storage.")
    sha256: Sha256 | None = Field(None, description="SHA-256, hexadecimal.")


class ParsedEmail(DerivedMessage):
    """The parts of a message; `timestamp` is when it was sent."""

    email_id: Text | None = Field(None, description="Its Message-ID header.")
    in_reply_to: Text | None = Field(None, description="Message-ID that it answers.")
    references: list[Text] = Field(default_factory=list, description="Message-IDs of its thread, oldest first.")
    subject: Text | None = Field(None, description="Its subject.")
    sender: Text | None = Field(None, description="Who sent it.")
    recipients: list[Text] = Field(default_factory=list, description="To whom.")
    cc: list[Text] = Field(default_factory=list, description="To whom in copy.")
    body: Text = Field(description="Its text, without markup, quotes and signature.")
    quoted: Text | None = Field(None, description="What it quotes.")
    language: Label | None = Field(None, description="BCP 47 tag of the text.")
    attachments: list[Attachment] = Field(default_factory=list, description="Files that came with it.")
    list_id: Text | None = Field(None, description="Mailing list that it came by.")


class EnrichedCalendarEvent(DerivedMessage):
    """A calendar event with what kind of meeting it is; `timestamp` is when it begins."""

    uid: Label = Field(description="UID of the event (RFC 5545).")
    recurrence_id: Label | None = Field(None, description="Which occurrence of a repeated event.")
    summary: Text | None = Field(None, description="Its title.")
    ends_at: AwareDatetime | None = Field(None, description="When it ends, UTC.")
    duration_seconds: float | None = Field(None, ge=0.0, description="Length, seconds.")
    meeting_type: Label = Field(description="Such as one_on_one, team, external, focus, personal, travel.")
    meeting_type_scores: Scores = Field(default_factory=dict, description="Score of each type.")
    attendee_count: Count = Field(description="How many are invited.")
    online: bool = Field(False, description="Whether it has a link to join by.")
    join_url: Text | None = Field(None, description="That link.")
    latitude: float | None = Field(None, ge=-90.0, le=90.0, description="Of its place; WGS 84, decimal degrees.")
    longitude: float | None = Field(None, ge=-180.0, le=180.0, description="Of its place; WGS 84, decimal degrees.")


class FetchedArticle(DerivedMessage):
    """The page that a liked item points at."""

    url: Text = Field(min_length=1, description="Address after redirects.")
    http_status: int = Field(ge=100, le=599, description="Answer of the server.")
    title: Text | None = Field(None, description="Its title.")
    byline: Text | None = Field(None, description="Who wrote it.")
    site_name: Text | None = Field(None, description="Name of the site.")
    language: Label | None = Field(None, description="BCP 47 tag of the text.")
    published_at: AwareDatetime | None = Field(None, description="When it was published, UTC.")
    text: Text = Field(description="The article, without markup.")
    word_count: Count = Field(description="Words in it.")
    page_ref: Label | None = Field(None, description="Where the page as fetched lies in object storage.")
    page_sha256: Sha256 | None = Field(None, description="SHA-256 of that page, hexadecimal.")


class TextEmbedding(DerivedMessage):
    """An embedding of a piece of text."""

    piece: Count = Field(0, description="Which piece of a text that was cut up.")
    pieces: int = Field(1, ge=1, description="How many pieces it has.")
    text: Text = Field(description="The text of the piece.")
    model: Label = Field(description="Name of the model.")
    dimensions: int = Field(ge=1, le=16_000, description="Length of the embedding.")
    embedding: list[float] = Field(min_length=1, max_length=16_000, description="The embedding, of length 1.")
    similarity: Literal["cosine", "dot", "euclidean"] = Field("cosine", description="How it is to be compared.")
