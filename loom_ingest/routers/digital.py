"""The person's digital life: what they copy, pages they visit, addresses to be processed."""

from fastapi import APIRouter, Request, Response

from loom_contracts.topics.digital import CLIPBOARD_RAW, WEB_ANALYTICS_RAW
from loom_contracts.topics.task import URL_INGEST
from loom_ingest.accept import accept
from loom_ingest.openapi import operation
from loom_ingest.route import IngestRoute

router = APIRouter(tags=["digital"], route_class=IngestRoute)


@router.post("/digital/clipboard", **operation(CLIPBOARD_RAW))
async def clipboard(request: Request) -> Response:
    """Take what was copied."""
    return await accept(request, CLIPBOARD_RAW)


@router.post("/digital/web-analytics", **operation(WEB_ANALYTICS_RAW))
async def web_analytics(request: Request) -> Response:
    """Take a visit to a web page, or what happened on it."""
    return await accept(request, WEB_ANALYTICS_RAW)


@router.post("/tasks/url", **operation(URL_INGEST))
async def url(request: Request) -> Response:
    """Take an address to be processed: a post, a PDF, a web page."""
    return await accept(request, URL_INGEST)
