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
) -> dict[str, Any]:
    """Keywords of a route that takes JSON of this schema and answers a `model`; `query` describes its parameters.

    There is no 422: what these clients send wrong is kept as it came.
    """
    parameters = [
        {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "description": description}
        for name, description in (query or {}).items()
    ]
    content = {"application/json": {"schema": schema, "example": example}}
    return {
        "status_code": status,
        "responses": {status: {"model": model}, **{code: answer for code, answer in ERRORS.items() if code != 422}},
        "openapi_extra": {"parameters": parameters, "requestBody": {"required": True, "content": content}},
    }
