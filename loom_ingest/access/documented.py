"""Keys in the OpenAPI document: how they are sent, which endpoints ask for one, and the answers of a refusal."""

from typing import Any, Final

from loom_ingest.access.policy import rule_of

_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch", "head", "options"})
_SCHEMES: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key is the password; any user name will do."},
}
_TOKEN: Final[dict[str, Any]] = {"type": "apiKey", "in": "query", "name": "token"}
_CHALLENGE: Final = {"WWW-Authenticate": {"schema": {"type": "string"}, "description": "RFC 6750's challenge."}}


def with_keys(document: dict[str, Any], *, required: bool) -> dict[str, Any]:
    """`document` with the 401 and 403 of what asks for a key and, where keys are required, with how to send one."""
    for path, operations in document["paths"].items():
        for method in operations.keys() & _METHODS:
            rule = rule_of(method.upper(), path)
            if not rule.scopes:
                continue
            operation = operations[method]
            scopes = " or ".join(f"`{scope.value}`" for scope in rule.scopes)
            unauthenticated = _error("No API key came, or one that does not count.") | {"headers": _CHALLENGE}
            operation["responses"].setdefault("401", unauthenticated)
            operation["responses"].setdefault("403", _error(f"The key has no scope {scopes}, or is of other devices."))
            if required:
                names = [*_SCHEMES, "token"] if rule.token else list(_SCHEMES)
                operation["security"] = [{name: []} for name in names]
    if required:
        document.setdefault("components", {})["securitySchemes"] = _SCHEMES | {"token": _TOKEN}
    return document


def _error(description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}
    return {"description": description, "content": content}
