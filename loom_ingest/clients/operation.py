"""How routes of foreign clients are described in the OpenAPI document."""

from typing import Any

from pydantic import BaseModel

from loom_ingest.openapi import ERRORS


def client_operation(
    schema: dict[str, Any],
    example: Any,
    model: type[BaseModel],
    *,
    status: int = 200,
    query: dict[str, str] | None = None,
    path: dict[str, str] | None = None,
    errors: tuple[int, ...] = (),
    also: dict[int, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Keywords of a route that takes JSON of this schema and answers a `model`.

    `query` and `path` describe its parameters, `also` further answers. There is no 422, unless it is one of `errors`:
    what these clients send wrong is kept as it came.
    """
    parameters = [
        {"name": name, "in": place, "required": required, "schema": {"type": "string"}, "description": description}
        for place, required, described in (("path", True, path), ("query", False, query))
        for name, description in (described or {}).items()
    ]
    answers = {code: answer for code, answer in ERRORS.items() if code != 422 or code in errors}
    if 422 not in errors:
        schema = {"anyOf": [schema, {"description": "Anything else is kept as it came."}]}
    content = {"application/json": {"schema": schema, "example": example}}
    return {
        "status_code": status,
        "responses": {status: {"model": model}, **answers, **(also or {})},
        "openapi_extra": {"parameters": parameters, "requestBody": {"required": 422 in errors, "content": content}},
    }
