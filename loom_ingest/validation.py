"""From pydantic's errors to an answer that names field, value and remedy."""

from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from loom_ingest.errors import ApiError, Code

M = TypeVar("M", bound=BaseModel)

LONGEST_ECHO: Final = 100
"""Characters of a wrong value that an answer repeats to the one who sent it."""

_EXPECTED: Final = {
    "float_type": "float",
    "float_parsing": "float",
    "int_type": "integer",
    "int_parsing": "integer",
    "int_from_float": "integer",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "string_type": "string",
    "dict_type": "object",
    "list_type": "array",
    "model_type": "object",
    "uuid_type": "UUID",
    "datetime_type": "ISO 8601 date and time",
}
_BOUNDS: Final = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})
_JSON_TYPES: Final = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "float",
    type(None): "null",
    list: "array",
    dict: "object",
}


def validated(model: type[M], body: bytes) -> M:
    """The `model` in `body`, as JSON Schema would have it: no text for a number, but 72.0 is the integer 72.

    Raises the 400 or 422.
    """
    try:
        # What model_validate_json calls; that one looks at six options first.
        message: M = model.__pydantic_validator__.validate_json(body, strict=True)
        return message
    except ValidationError as error:
        whole = _with_integers(error, body)
        if whole is None:
            raise rejection(error, body) from None
    try:
        return model.model_validate_json(whole, strict=True)
    except ValidationError as error:
        raise rejection(error, whole) from None


def _with_integers(error: ValidationError, body: bytes) -> bytes | None:
    """`body` with each integer that is written as 72.0 as 72; None when none was refused for that."""
    places = [
        problem["loc"]
        for problem in error.errors(include_url=False)
        if problem["type"] in ("int_type", "int_from_float")
        and isinstance(problem["input"], float)
        and problem["input"].is_integer()
    ]
    if not places:
        return None
    item = from_json(body)
    for *way, last in places:
        holder = item
        try:
            for step in way:
                holder = holder[step]
            holder[last] = int(holder[last])
        except (LookupError, TypeError):
            # A union's problems name the member that was tried, which is no place in the body.
            continue
    return to_json(item, inf_nan_mode="constants")


def rejection(error: ValidationError, body: bytes) -> ApiError:
    """The answer to a body that is not valid: 400 when it is not JSON, else 422 with the guide's `detail`."""
    problems = error.errors(include_url=False)
    if problems[0]["type"] == "json_invalid":
        return malformed(body, str(problems[0].get("ctx", {}).get("error", "")))
    code, message = explain(problems[0])
    if len(problems) > 1:
        message += f" (and {len(problems) - 1} more, see detail)"
    return ApiError(
        422,
        code,
        message,
        details={path(p): explain(p)[1] for p in problems},
        detail=[detail(p) for p in problems],
    )


def field_rejection(field: str, value: Any, code: Code, message: str) -> ApiError:
    """A 422 about one field that is not pydantic's."""
    item = {"type": code.lower(), "loc": ["body", field], "msg": message, "input": echo(value), "ctx": {}}
    return ApiError(422, code, message, details={field: message}, detail=[item])


def malformed(body: bytes, reason: str) -> ApiError:
    """The answer to a body that is not JSON."""
    if not body.strip():
        return ApiError(400, Code.MALFORMED_JSON, "The body is empty; send a JSON object", details={"body": "empty"})
    if "hex escape" in reason or "surrogate" in reason:
        reason += "; text holds a lone surrogate or an incomplete \\u escape"
    elif not _is_utf8(body):
        reason += "; the body is not UTF-8"
    message = f"The body is not valid JSON: {reason}"
    return ApiError(400, Code.MALFORMED_JSON, message, details={"body": reason})


def parse_json(body: bytes) -> Any:
    """The value of `body`; raises the 400 when it is not JSON."""
    try:
        return from_json(body)
    except ValueError as error:
        raise malformed(body, str(error)) from None


def detail(problem: ErrorDetails) -> dict[str, Any]:
    """One element of the guide's 422 list."""
    return {
        "type": problem["type"],
        "loc": ["body", *problem["loc"]],
        "msg": problem["msg"],
        "input": echo(problem["input"]),
        "ctx": {key: value if isinstance(value, int | float) else str(value) for key, value in _ctx(problem).items()},
    }


def path(problem: ErrorDetails) -> str:
    """Where it is, as `value.temperature`."""
    return ".".join(str(part) for part in problem["loc"]) or "body"


def explain(problem: ErrorDetails) -> tuple[Code, str]:
    """Code and sentence of one problem: the field, the value and what to do."""
    kind, field, value = problem["type"], path(problem), problem["input"]
    if kind == "missing":
        return Code.MISSING_FIELD, f"Missing required field: {field}"
    if isinstance(value, str) and "\x00" in value:
        return Code.INVALID_VALUE, f"Field '{field}' holds a NUL character (\\u0000); remove it"
    if kind == "finite_number":
        return Code.INVALID_VALUE, f"Field '{field}' is {value}: it must be a finite number; send one or leave it out"
    if kind in _EXPECTED:
        actual = _JSON_TYPES.get(type(value), "other")
        if actual == "integer" == _EXPECTED[kind] or (actual == "float" and kind == "int_from_float"):
            actual = f"{echo(value)}"
        return Code.INVALID_TYPE, f"Invalid data type for field '{field}': expected {_EXPECTED[kind]}, got {actual}"
    says = problem["msg"].removeprefix("Value error, ")
    if kind in _BOUNDS:
        return Code.OUT_OF_RANGE, f"Field '{field}' is {echo(value)}: {_lower(says)}"
    if field == "device_id":
        says = "use 3 to 64 letters, digits, hyphens and underscores"
    elif kind == "timezone_aware":
        says = "it has no time zone; write UTC with a Z, as in 2026-01-31T08:30:00.000Z"
    return Code.INVALID_VALUE, f"Field '{field}' is {_quoted(value)}: {_lower(says)}"


def echo(value: Any) -> Any:
    """`value` for the sender's eyes: scalars whole, long text cut, containers by their size alone."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str) and len(value) > LONGEST_ECHO:
        return f"{value[:LONGEST_ECHO]}... ({len(value)} characters)"
    if isinstance(value, dict | list) and len(value) > 0:
        return f"{_JSON_TYPES[type(value)]} of {len(value)}"
    if isinstance(value, str | int | float | dict | list) or value is None:
        return value if not isinstance(value, int) or abs(value) < 10**18 else str(value)[:LONGEST_ECHO]
    return str(value)[:LONGEST_ECHO]


def _quoted(value: Any) -> str:
    shown = echo(value)
    return repr(shown) if isinstance(shown, str) else str(shown)


def _lower(text: str) -> str:
    text = f"it{text.removeprefix('Input')}" if text.startswith("Input ") else text
    return text[:1].lower() + text[1:]


def _ctx(problem: ErrorDetails) -> dict[str, Any]:
    return dict(problem.get("ctx", {}))


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
