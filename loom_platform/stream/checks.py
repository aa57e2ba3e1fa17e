"""A payload's declared constraints as polars expressions, so that a whole batch is checked at once.

The pydantic model stays the one place where a range is written. A row that fails here is looked at again by
pydantic, one by one, for its reason.
"""

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
import polars as pl
from pydantic import StringConstraints
from pydantic.fields import FieldInfo

from loom_contracts.message import Message

UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
FUTURE_LIMIT_HOURS = 48


def suspects(payload: type[Message]) -> pl.Expr:
    """True for each row that may break the payload's constraints: null where a value is needed, out of range, a
    pattern not met, a NUL character, not a finite number, or an implausible time.

    The frame has the payload's columns (`frames.frame_schema`) and `received_at`.
    """
    tests: list[pl.Expr] = []
    for name, field in payload.model_fields.items():
        tests.extend(_field_tests(name, field))
    plausible = pl.col("timestamp").is_between(
        pl.datetime(1970, 1, 1, time_zone="UTC", time_unit="us"),
        pl.col("received_at") + pl.duration(hours=FUTURE_LIMIT_HOURS),
    )
    tests.append(~plausible)
    tests.append(~pl.col("schema_version").str.starts_with("1."))
    return pl.any_horizontal(*(t.fill_null(False) for t in tests))


def _field_tests(name: str, field: FieldInfo) -> Iterator[pl.Expr]:
    column = pl.col(name)
    if field.is_required() or name in ("message_id", "timestamp", "schema_version"):
        yield column.is_null()
    annotations, constraints = _flatten(field.annotation)
    constraints += field.metadata
    for constraint in constraints:
        yield from _constraint_tests(column, constraint)
    if name == "message_id" or name.endswith("_message_id"):
        yield ~column.str.contains(UUID_PATTERN)
    elif str in annotations:
        yield column.str.contains("\x00", literal=True)
    if float in annotations:
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
