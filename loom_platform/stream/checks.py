"""A payload's declared constraints as polars expressions, so that a whole batch is checked at once.

The pydantic model stays the one place where a range is written. A row that fails here is looked at again by
pydantic, one by one, for its reason.
"""

import types
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
import polars as pl
from pydantic import StringConstraints
from pydantic.fields import FieldInfo

from loom_contracts.message import Message, StoredBody
from loom_contracts.table import ColumnType, type_of

UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
FUTURE_LIMIT_HOURS = 48
_FUTURE_LIMIT = timedelta(hours=FUTURE_LIMIT_HOURS)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)

_UNDERSTOOD = (StringConstraints, at.Interval, at.Len, at.Ge, at.Gt, at.Le, at.Lt, at.MinLen, at.MaxLen)


def has_body(payload: type[Message]) -> bool:
    """Whether a message of `payload` holds a body (StoredBody), which may be large."""
    return any(
        isinstance(constraint, StoredBody)
        for field in payload.model_fields.values()
        for constraint in (*_flatten(field.annotation)[1], *field.metadata)
    )


def needs_pydantic(payload: type[Message]) -> bool:
    """Whether expressions can't tell what breaks `payload`: JSON columns, validator functions, unknown constraints.

    The body of a StoredBody is left to the stages that open it: they must look inside it anyway.
    """
    if any(getattr(payload.__pydantic_decorators__, kind) for kind in ("validators", "field_validators")):
        return True
    if payload.__pydantic_decorators__.root_validators or payload.__pydantic_decorators__.model_validators:
        return True
    for name, field in payload.model_fields.items():
        constraints = [*_flatten(field.annotation)[1], *field.metadata]
        if any(isinstance(c, StoredBody) for c in constraints):
            continue
        if type_of(field.annotation, name)[0] is ColumnType.JSON:
            return True
        if not all(_understood(c) for c in constraints):
            return True
    return False


def _understood(constraint: Any) -> bool:
    if isinstance(constraint, FieldInfo):
        return all(map(_understood, constraint.metadata))
    if isinstance(constraint, StringConstraints):
        # what changes the text, or looks at it otherwise, is pydantic's
        return not (constraint.strip_whitespace or constraint.to_upper or constraint.to_lower)
    if isinstance(constraint, _UNDERSTOOD):
        return True
    general = getattr(constraint, "__dict__", {})
    return set(general) == {"pattern"}


def mistyped(payload: type[Message]) -> str | None:
    """A pattern that a message's text meets when a text field may have a number, boolean, object or list in it.

    polars turns those into text; for identities, times and literals another check fails then.
    """
    names = []
    for name, field in payload.model_fields.items():
        literal = get_origin(field.annotation) is Literal
        if type_of(field.annotation, name)[0] is ColumnType.TEXT and not literal:
            names.append(name)
    return r'"(?:' + "|".join(names) + r')"\s*:\s*[^\s"n]' if names else None


def suspects(payload: type[Message]) -> pl.Expr:
    """True for each row that may break the payload's constraints: null where a value is needed, out of range, a
    pattern not met, a NUL character, not a finite number, or an implausible time.

    The frame has the payload's columns (`frames.frame_schema`) and `received_at`.
    """
    tests: list[pl.Expr] = []
    for name, field in payload.model_fields.items():
        tests.extend(_field_tests(name, field))
    tests.append(~_plausible_time())
    tests.append(~_known_version())
    return pl.any_horizontal(*(t.fill_null(False) for t in tests))


def implausible(schema_version: str, timestamp: datetime, received_at: datetime) -> str | None:
    """Why a message that its payload accepts is not kept, or None."""
    if not schema_version.startswith("1."):
        return f"schema_version {schema_version} is not known: this Loom reads 1.x"
    if timestamp < _FIRST:
        return f"timestamp {timestamp.isoformat()} is before 1970: mend the sender's clock"
    limit = received_at + _FUTURE_LIMIT
    if timestamp > limit:
        return f"timestamp {timestamp.isoformat()} is after {limit.isoformat()}: mend the sender's clock"
    return None


def _plausible_time() -> pl.Expr:
    return pl.col("timestamp").is_between(
        pl.datetime(1970, 1, 1, time_zone="UTC", time_unit="us"),
        pl.col("received_at") + pl.duration(hours=FUTURE_LIMIT_HOURS),
    )


def _known_version() -> pl.Expr:
    return pl.col("schema_version").str.starts_with("1.")


def _field_tests(name: str, field: FieldInfo) -> Iterator[pl.Expr]:
    column = pl.col(name)
    column_type, optional = type_of(field.annotation, name)
    if not optional:
        # missing, or with a default that pydantic fills in
        yield column.is_null()
    annotations, constraints = _flatten(field.annotation)
    constraints += field.metadata
    for constraint in constraints:
        yield from _constraint_tests(column, constraint)
    if column_type is ColumnType.UUID:
        yield ~column.str.contains(UUID_PATTERN)
    elif str in annotations:
        yield column.str.contains("\x00", literal=True)
    if column_type is ColumnType.FLOAT:
        yield ~column.is_finite()
    literals = [v for a in annotations if get_origin(a) is Literal for v in get_args(a)]
    if literals and all(get_origin(a) is Literal for a in annotations):
        yield ~column.is_in([str(v) for v in literals])


def _flatten(annotation: Any) -> tuple[list[Any], list[Any]]:
    """The alternatives of an annotation (None left out) and the constraints attached to them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        annotations, constraints = _flatten(inner)
        return annotations, [*constraints, *metadata]
    if origin in (Union, types.UnionType):
        pairs = [_flatten(a) for a in get_args(annotation) if a is not type(None)]
        return [a for p in pairs for a in p[0]], [c for p in pairs for c in p[1]]
    return [annotation], []


def _constraint_tests(column: pl.Expr, constraint: Any) -> Iterator[pl.Expr]:
    if isinstance(constraint, FieldInfo):
        for inner in constraint.metadata:
            yield from _constraint_tests(column, inner)
    elif isinstance(constraint, StringConstraints):
        if constraint.min_length is not None:
            yield column.str.len_chars() < constraint.min_length
        if constraint.max_length is not None:
            yield column.str.len_chars() > constraint.max_length
        if constraint.pattern is not None:
            yield ~column.str.contains(str(constraint.pattern))
    elif isinstance(constraint, at.Interval | at.Len):
        for part in constraint:
            yield from _constraint_tests(column, part)
    elif isinstance(constraint, at.Ge):
        yield column < pl.lit(constraint.ge)
    elif isinstance(constraint, at.Gt):
        yield column <= pl.lit(constraint.gt)
    elif isinstance(constraint, at.Le):
        yield column > pl.lit(constraint.le)
    elif isinstance(constraint, at.Lt):
        yield column >= pl.lit(constraint.lt)
    elif isinstance(constraint, at.MinLen):
        yield column.str.len_chars() < constraint.min_length
    elif isinstance(constraint, at.MaxLen):
        yield column.str.len_chars() > constraint.max_length
    elif (pattern := getattr(constraint, "pattern", None)) is not None:
        yield ~column.str.contains(str(pattern))
