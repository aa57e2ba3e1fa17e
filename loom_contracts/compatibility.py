"""Whether a JSON Schema still accepts all that its earlier text accepted, within one major version.

It knows the part of Draft 2020-12 that pydantic writes. Anything that it does not know must be equal.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EQUAL: Final = ("pattern", "format", "contentEncoding", "multipleOf", "uniqueItems")
_NOTES: Final = frozenset({"title", "description", "examples", "default", "deprecated", "$id", "$schema", "$defs"})
_STRUCTURE: Final = frozenset({"type", "enum", "const", "properties", "required", "items", "additionalProperties"})
_KNOWN: Final = frozenset((*_LOWER, *_UPPER, *_EQUAL, *_NOTES, *_STRUCTURE))


def breaks(old: Schema, new: Schema) -> list[str]:
    """What `new` refuses, or no longer has, that `old` allows: a sentence for each; empty when compatible."""
    return list(_compare(old, new, "", old, new))


def _compare(old: Schema, new: Schema, path: str, old_root: Schema, new_root: Schema) -> Iterator[str]:
    """Differences of two schemas with any number of alternatives."""
    new_arms = {_kind(a): a for a in _arms(new, new_root)}
    if "any" in new_arms:
        return
    for arm in _arms(old, old_root):
        kind = _kind(arm)
        match = new_arms.get(kind) or (new_arms.get("number") if kind == "integer" else None)
        if match is None:
            yield f"{_at(path)}: type {kind} is no longer allowed, only {', '.join(sorted(new_arms))}"
        else:
            yield from _compare_arm(arm, match, path, old_root, new_root)


def _compare_arm(old: Schema, new: Schema, path: str, old_root: Schema, new_root: Schema) -> Iterator[str]:
    place = _at(path)
    yield from _narrowed(old, new, place)
    if (values := _values(new)) is not None:
        gone = [v for v in _values(old) or ("any other value",) if v not in values]
        if gone:
            yield f"{place}: {', '.join(map(repr, gone))} no longer allowed"
    for name, schema in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            yield f"{_at(_join(path, name))}: removed"
        else:
            yield from _compare(schema, new["properties"][name], _join(path, name), old_root, new_root)
    for name in new.get("required", ()):
        if name not in old.get("required", ()):
            yield f"{_at(_join(path, name))}: newly required"
    if "items" in new:
        yield from _compare(old.get("items", {}), new["items"], f"{path}[]", old_root, new_root)
    if new.get("additionalProperties", True) is not True:
        before = old.get("additionalProperties", True)
        after = new["additionalProperties"]
        if before is True or (before is not False and after is False):
            yield f"{place}: other fields no longer allowed"
        elif before is not False:
            yield from _compare(before, after, f"{path}.*", old_root, new_root)


def _narrowed(old: Schema, new: Schema, place: str) -> Iterator[str]:
    """Bounds that are tighter, and keywords that must be equal and are not."""
    for keyword in _LOWER:
        if keyword in new and (keyword not in old or new[keyword] > old[keyword]):
            yield f"{place}: {keyword} rose from {old.get(keyword, 'none')} to {new[keyword]}"
    for keyword in _UPPER:
        if keyword in new and (keyword not in old or new[keyword] < old[keyword]):
            yield f"{place}: {keyword} fell from {old.get(keyword, 'none')} to {new[keyword]}"
    for keyword in (*_EQUAL, *sorted(new.keys() - _KNOWN)):
        if keyword in new and new[keyword] != old.get(keyword):
            yield f"{place}: {keyword} changed from {old.get(keyword, 'none')} to {new[keyword]}"


def _arms(schema: Schema, root: Schema) -> list[Schema]:
    """The alternatives of a schema, each of one type, with references followed."""
    while "$ref" in schema:
        schema = {**_resolve(schema["$ref"], root), **{k: v for k, v in schema.items() if k != "$ref"}}
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return [arm for part in schema[keyword] for arm in _arms(part, root)]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": t} for t in schema["type"]]
    return [schema]


def _resolve(reference: str, root: Schema) -> Schema:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _kind(schema: Schema) -> str:
    if "type" in schema:
        return str(schema["type"])
    values = _values(schema)
    if values:
        return {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}[type(values[0])]
    return "any" if not schema.keys() - _NOTES else "object"


def _values(schema: Schema) -> tuple[Any, ...] | None:
    if "const" in schema:
        return (schema["const"],)
    return tuple(schema["enum"]) if "enum" in schema else None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _at(path: str) -> str:
    return path or "the message"
