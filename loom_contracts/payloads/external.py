"""What external sources hold, as they gave it: posts, calendars, mail."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from loom_contracts.message import Message, StoredBody
from loom_contracts.payloads.common import Base64, Count, JsonObject, Label, Part, Text

Change = Literal["added", "changed", "removed"]


class LikedTweet(Message):
    """A post on Twitter/X that the person liked."""

    tweet_id: Label = Field(description="The site's identifier.")
    url: Text = Field(min_length=1, description="Address of the post.")
    author_handle: Label = Field(description="Who wrote it, without the @.")
    author_name: Text | None = Field(None, description="The name that they show.")
    text: Text = Field(description="Its text.")
    posted_at: AwareDatetime | None = Field(None, description="When it was written, UTC.")
    media_urls: list[Text] = Field(default_factory=list, description="Images and videos in it.")
    link_urls: list[Text] = Field(default_factory=list, description="Pages that it links to.")
    like_count: Count | None = Field(None, description="Likes when it was read.")
    repost_count: Count | None = Field(None, description="Reposts when it was read.")


class LikedStory(Message):
    """A Hacker News item that the person liked."""

    item_id: Count = Field(description="The site's identifier.")
    item_type: Literal["story", "comment", "job", "poll"] = Field("story", description="What it is.")
    title: Text | None = Field(None, description="Its title.")
    url: Text | None = Field(None, description="Page that it points at; null for a text of its own.")
    text: Text | None = Field(None, description="Its own text, as HTML.")
    author: Label | None = Field(None, description="Who posted it.")
    points: int | None = Field(None, ge=-100_000, le=10_000_000, description="Points when it was read.")
    comment_count: Count | None = Field(None, description="Comments when it was read.")
    posted_at: AwareDatetime | None = Field(None, description="When it was posted, UTC.")


class Attendee(Part):
    """Someone invited to an event."""

    email: Label | None = Field(None, description="Their address.")
    name: Text | None = Field(None, description="Their name.")
    status: Label | None = Field(None, description="Their answer: ACCEPTED, DECLINED, TENTATIVE, NEEDS-ACTION.")
    role: Label | None = Field(None, description="CHAIR, REQ-PARTICIPANT, OPT-PARTICIPANT, NON-PARTICIPANT.")


class CalendarEvent(Message):
    """A change of a calendar event, with its state after it; `timestamp` is when the change was seen."""

    account: Label = Field(description="Account that holds the calendar.")
    calendar: Label = Field(description="Name of the calendar.")
    uid: Label = Field(description="UID of the event (RFC 5545).")
    recurrence_id: Label | None = Field(None, description="Which occurrence of a repeated event.")
    change: Change = Field(description="What happened to it.")
    summary: Text | None = Field(None, description="Its title.")
    description: Text | None = Field(None, description="Its text.")
    location: Text | None = Field(None, description="Where it takes place.")
    starts_at: AwareDatetime | None = Field(None, description="When it begins, UTC.")
    ends_at: AwareDatetime | None = Field(None, description="When it ends, UTC.")
    time_zone: Label | None = Field(None, description="IANA time zone that it was written in.")
    all_day: bool = Field(False, description="Whether it takes whole days.")
    status: Label | None = Field(None, description="CONFIRMED, TENTATIVE or CANCELLED.")
    organizer: Attendee | None = Field(None, description="Who called it.")
    attendees: list[Attendee] = Field(default_factory=list, description="Who is invited.")
    recurrence_rule: Text | None = Field(None, description="How it repeats, an RFC 5545 RRULE.")


class CalendarObject(Message):
    """A calendar object as the server gave it."""

    account: Label = Field(description="Account that holds the calendar.")
    calendar: Label = Field(description="Name of the calendar.")
    href: Text = Field(min_length=1, description="Address of the object on the server.")
    etag: Label | None = Field(None, description="The server's tag of this state of it.")
    uid: Label | None = Field(None, description="UID of the event (RFC 5545).")
    icalendar: Text = Field(description="The iCalendar text.")


class EmailEvent(Message):
    """Something happened to a message in a mailbox; `timestamp` is when it was seen."""

    account: Label = Field(description="Account that holds the mailbox.")
    folder: Label = Field(description="Name of the mailbox.")
    uid: Count = Field(description="UID of the message in that mailbox (RFC 3501).")
    uid_validity: Count | None = Field(None, description="UIDVALIDITY of that mailbox.")
    event_type: Literal["received", "sent", "read", "flagged", "moved", "deleted"] = Field(description="What happened.")
    email_id: Text | None = Field(None, description="Its Message-ID header.")
    subject: Text | None = Field(None, description="Its subject.")
    sender: Text | None = Field(None, description="Who sent it.")
    flags: list[Label] = Field(default_factory=list, description="Its IMAP flags.")
    size_bytes: Count | None = Field(None, description="Size, bytes.")


class RawEmail(Message):
    """A message as the server gave it."""

    email_data: Annotated[Base64, StoredBody(name="email")] = Field(description="The RFC 5322 message in base64.")
    account: Label = Field(description="Account that holds the mailbox.")
    folder: Label = Field(description="Name of the mailbox.")
    uid: Count = Field(description="UID of the message in that mailbox (RFC 3501).")
    uid_validity: Count | None = Field(None, description="UIDVALIDITY of that mailbox.")
    flags: list[Label] = Field(default_factory=list, description="Its IMAP flags.")
    headers: JsonObject | None = Field(None, description="Headers that the server gave beside it.")
