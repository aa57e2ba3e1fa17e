"""Topics of external sources: Twitter/X, Hacker News, calendars, mail."""

from typing import Any, Final

from loom_contracts.payloads.external import (
    CalendarEvent,
    CalendarObject,
    EmailEvent,
    LikedStory,
    LikedTweet,
    RawEmail,
)
from loom_contracts.payloads.external_derived import (
    EnrichedCalendarEvent,
    FetchedArticle,
    ParsedEmail,
    TextEmbedding,
)
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import derived, message

_BY_SOURCE: Final = ("timestamp", "source_message_id")


def _embedded(name: str, stage: str, description: str, text: str) -> Topic:
    example: dict[str, Any] = derived(
        stage,
        "1+all-MiniLM-L6-v2",
        piece=0,
        pieces=1,
        text=text,
        model="all-MiniLM-L6-v2",
        dimensions=4,
        embedding=[0.5, -0.5, 0.5, -0.5],
        similarity="cosine",
    )
    return Topic(name, TextEmbedding, description, example, producers=(stage,), scope=_BY_SOURCE)


TWITTER_LIKED_RAW: Final = Topic(
    "external.twitter.liked.raw",
    LikedTweet,
    "Posts on Twitter/X that the person liked.",
    message(
        device_id="twitter-scraper",
        tweet_id="20",
        url="https://example.org/jack/status/20",
        author_handle="jack",
        author_name="jack",
        text="just setting up",
        posted_at="2026-01-15T07:12:00.000000Z",
        media_urls=[],
        link_urls=["https://example.org/article"],
        like_count=12,
        repost_count=3,
    ),
    producers=("twitter-scraper",),
)
CALENDAR_EVENTS_RAW: Final = Topic(
    "external.calendar.events.raw",
    CalendarEvent,
    "Changes of calendar events (CalDAV).",
    message(
        device_id="calendar-scraper",
        account="ada@example.org",
        calendar="Work",
        uid="0001@example.org",
        change="added",
        summary="Planning",
        location="Room 2",
        starts_at="2026-01-16T09:00:00.000000Z",
        ends_at="2026-01-16T09:30:00.000000Z",
        time_zone="Europe/Berlin",
        status="CONFIRMED",
        organizer={"email": "ada@example.org", "name": "Ada"},
        attendees=[{"email": "bob@example.org", "name": "Bob", "status": "ACCEPTED", "role": "REQ-PARTICIPANT"}],
    ),
    producers=("calendar-scraper",),
    consumers=("calendar-enrichment",),
)
CALENDAR_RAW: Final = Topic(
    "external.calendar.raw",
    CalendarObject,
    "Calendar objects as the server gave them.",
    message(
        device_id="calendar-scraper",
        account="ada@example.org",
        calendar="Work",
        href="/calendars/ada/work/0001.ics",
        etag="5f2c",
        uid="0001@example.org",
        icalendar="BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n",
    ),
    producers=("calendar-scraper",),
    consumers=("calendar-enrichment",),
)
CALENDAR_ENRICHED: Final = Topic(
    "external.calendar.enriched",
    EnrichedCalendarEvent,
    "Calendar events with the kind of meeting.",
    derived(
        "calendar-enrichment",
        uid="0001@example.org",
        summary="Planning",
        ends_at="2026-01-16T09:30:00.000000Z",
        duration_seconds=1_800.0,
        meeting_type="one_on_one",
        meeting_type_scores={"one_on_one": 0.8, "team": 0.2},
        attendee_count=2,
        online=True,
        join_url="https://meet.example.org/abc",
    ),
    producers=("calendar-enrichment",),
    consumers=("calendar-embedding",),
    scope=_BY_SOURCE,
)
CALENDAR_EMBEDDED: Final = _embedded(
    "external.calendar.embedded", "calendar-embedding", "Embeddings of calendar events.", "Planning, Room 2"
)
EMAIL_EVENTS_RAW: Final = Topic(
    "external.email.events.raw",
    EmailEvent,
    "What happens in the mailboxes of all accounts (IMAP).",
    message(
        device_id="email-scraper",
        account="ada@example.org",
        folder="INBOX",
        uid=4211,
        uid_validity=1,
        event_type="received",
        email_id="<0001@example.org>",
        subject="Lunch?",
        sender="Bob <bob@example.org>",
        flags=["\\Recent"],
        size_bytes=2_312,
    ),
    producers=("email-scraper",),
)
EMAIL_RAW: Final = Topic(
    "external.email.raw",
    RawEmail,
    "Messages as the server gave them.",
    message(
        device_id="email-scraper",
        email_data="U3ViamVjdDogTHVuY2g/DQoNCkF0IG5vb24/DQo=",
        account="ada@example.org",
        folder="INBOX",
        uid=4211,
        uid_validity=1,
        flags=[],
    ),
    producers=("email-scraper",),
    consumers=("email-parser",),
)
EMAIL_PARSED: Final = Topic(
    "external.email.parsed",
    ParsedEmail,
    "Parts of messages: headers, text, attachments.",
    derived(
        "email-parser",
        email_id="<0001@example.org>",
        subject="Lunch?",
        sender="Bob <bob@example.org>",
        recipients=["Ada <ada@example.org>"],
        body="At noon?",
        language="en",
        attachments=[{"name": "menu.pdf", "content_type": "application/pdf", "size_bytes": 18_002}],
    ),
    producers=("email-parser",),
    consumers=("email-embedding",),
    scope=_BY_SOURCE,
)
EMAIL_EMBEDDED: Final = _embedded(
    "external.email.embedded", "email-embedding", "Embeddings of messages.", "Lunch? At noon?"
)
HACKERNEWS_LIKED: Final = Topic(
    "external.hackernews.liked",
    LikedStory,
    "Hacker News items that the person liked.",
    message(
        device_id="hackernews-scraper",
        item_id=8863,
        item_type="story",
        title="A story",
        url="https://example.org/article",
        author="ada",
        points=111,
        comment_count=71,
        posted_at="2026-01-14T19:16:40.000000Z",
    ),
    producers=("hackernews-scraper",),
    consumers=("hackernews-fetcher",),
)
HACKERNEWS_CONTENT_FETCHED: Final = Topic(
    "external.hackernews.content_fetched",
    FetchedArticle,
    "Articles that liked items point at.",
    derived(
        "hackernews-fetcher",
        url="https://example.org/article",
        http_status=200,
        title="An article",
        site_name="Example",
        language="en",
        text="It was a bright cold day.",
        word_count=6,
    ),
    producers=("hackernews-fetcher",),
    consumers=("hackernews-embedding",),
    scope=_BY_SOURCE,
)
HACKERNEWS_EMBEDDED: Final = _embedded(
    "external.hackernews.embedded",
    "hackernews-embedding",
    "Embeddings of articles.",
    "It was a bright cold day.",
)
