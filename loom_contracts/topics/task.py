"""Topics of addresses to be worked on."""

from typing import Final

from loom_contracts.payloads.task import ArchivedHackerNews, ArchivedTwitter, ExtractedPdf, UrlTask
from loom_contracts.topic import Topic
from loom_contracts.topics.examples import derived, message

_BY_SOURCE: Final = ("timestamp", "source_message_id")

URL_INGEST: Final = Topic(
    "task.url.ingest",
    UrlTask,
    "Addresses to be processed: posts, PDFs, web pages.",
    message(url="https://example.org/paper.pdf", kind="pdf", origin="twitter-scraper", priority=0),
    producers=("ingest", "twitter-scraper", "hackernews-scraper"),
    consumers=("landing-task-url-ingest", "twitter-archiver", "hackernews-archiver", "pdf-extractor"),
)
TWITTER_ARCHIVED: Final = Topic(
    "task.url.processed.twitter_archived",
    ArchivedTwitter,
    "Archived posts on Twitter/X.",
    derived(
        "twitter-archiver",
        url="https://example.org/jack/status/20",
        tweet_id="20",
        author_handle="jack",
        text="just setting up",
        posts=[{"id": "20", "author": "jack", "text": "just setting up", "posted_at": "2026-01-15T07:12:00.000000Z"}],
    ),
    producers=("twitter-archiver",),
    scope=_BY_SOURCE,
)
HACKERNEWS_ARCHIVED: Final = Topic(
    "task.url.processed.hackernews_archived",
    ArchivedHackerNews,
    "Archived Hacker News items and their comments.",
    derived(
        "hackernews-archiver",
        url="https://example.org/item?id=8863",
        item_id=8863,
        title="A story",
        points=111,
        comments=[{"id": "9224", "parent_id": "8863", "author": "bob", "text": "Nice."}],
    ),
    producers=("hackernews-archiver",),
    scope=_BY_SOURCE,
)
PDF_EXTRACTED: Final = Topic(
    "task.url.processed.pdf_extracted",
    ExtractedPdf,
    "Text and summaries of PDFs.",
    derived(
        "pdf-extractor",
        url="https://example.org/paper.pdf",
        title="A paper",
        page_count=2,
        text="First page.\fSecond page.",
        pdf_ref="pdf/9f/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.pdf",
        pdf_sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        pdf_size_bytes=48_122,
    ),
    producers=("pdf-extractor",),
    scope=_BY_SOURCE,
)
