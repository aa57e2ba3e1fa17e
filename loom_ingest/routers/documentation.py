"""`/docs` and `/redoc` from files that are installed with the service: a browser fetches nothing from elsewhere."""

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from loom_ingest.problems import PAGE, page

STATIC_PATH: Final = "/static/docs"


def add_documentation(app: FastAPI) -> None:
    """Serve the pages and what they need; the files are those of the package fastapi-offline."""
    app.mount(STATIC_PATH, StaticFiles(directory=Path(str(files("fastapi_offline"))) / "static"), name="docs")
    schema = app.openapi_url or "/openapi.json"

    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=schema,
            title=f"{app.title} - Swagger UI",
            swagger_js_url=f"{STATIC_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{STATIC_PATH}/swagger-ui.css",
            swagger_favicon_url=f"{STATIC_PATH}/favicon.png",
        )

    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url=schema,
            title=f"{app.title} - ReDoc",
            redoc_js_url=f"{STATIC_PATH}/redoc.standalone.js",
            redoc_favicon_url=f"{STATIC_PATH}/favicon.png",
            with_google_fonts=False,
        )

    async def errors() -> HTMLResponse:
        return HTMLResponse(page())

    app.add_api_route(PAGE, errors, include_in_schema=False)
    app.add_api_route("/docs", docs, include_in_schema=False)
    app.add_api_route("/redoc", redoc, include_in_schema=False)
