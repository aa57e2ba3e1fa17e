"""The checker of compatibility, on literal schemas."""

from typing import Any

import pytest

from loom_contracts.compatibility import breaks


def message(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


NULL = {"type": "null"}
TEXT = {"type": "string"}

COMPATIBLE = {
    "equal": (message(a=TEXT), message(a=TEXT)),
    "notes change": (message(a=TEXT | {"description": "x"}), message(a=TEXT | {"description": "y", "default": "z"})),
    "new optional field": (message(a=TEXT), message(a=TEXT, b=TEXT)),
    "no longer required": (message(("a",), a=TEXT), message(a=TEXT)),
    "integer to number": (message(a={"type": "integer"}), message(a={"type": "number"})),
    "wider range": (message(a={"type": "number", "minimum": 0}), message(a={"type": "number", "minimum": -1})),
    "no range": (message(a={"type": "number", "maximum": 9}), message(a={"type": "number"})),
    "wider enum": (message(a={"type": "string", "enum": ["x"]}), message(a={"type": "string", "enum": ["x", "y"]})),
    "enum to any text": (message(a={"type": "string", "enum": ["x"]}), message(a=TEXT)),
    "const to enum": (message(a={"type": "string", "const": "x"}), message(a={"type": "string", "enum": ["x", "y"]})),
    "becomes nullable": (message(a=TEXT), message(a={"anyOf": [TEXT, NULL]})),
    "anything": (message(a=TEXT), message(a={"description": "any JSON"})),
    "reference in place of text": (
        message(a={"type": "object", "properties": {"b": TEXT}}),
        message(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": {"type": "object", "properties": {"b": TEXT}}}},
    ),
    "type list": (message(a={"type": ["string", "null"]}), message(a={"anyOf": [TEXT, NULL]})),
}

BROKEN = {
    "removed": (message(a=TEXT, b=TEXT), message(a=TEXT), "b: removed"),
    "newly required": (message(a=TEXT), message(("a",), a=TEXT), "a: newly required"),
    "new and required": (message(), message(("a",), a=TEXT), "a: newly required"),
    "no longer nullable": (
        message(a={"anyOf": [TEXT, NULL]}),
        message(a=TEXT),
        "a: type null is no longer allowed, only string",
    ),
    "other type": (
        message(a=TEXT),
        message(a={"type": "integer"}),
        "a: type string is no longer allowed, only integer",
    ),
    "number to integer": (
        message(a={"type": "number"}),
        message(a={"type": "integer"}),
        "a: type number is no longer allowed, only integer",
    ),
    "minimum": (
        message(a={"type": "number", "minimum": 0}),
        message(a={"type": "number", "minimum": 1}),
        "a: minimum rose from 0 to 1",
    ),
    "new maximum": (
        message(a={"type": "number"}),
        message(a={"type": "number", "maximum": 5}),
        "a: maximum fell from none to 5",
    ),
    "shorter": (
        message(a=TEXT | {"maxLength": 9}),
        message(a=TEXT | {"maxLength": 8}),
        "a: maxLength fell from 9 to 8",
    ),
    "pattern": (message(a=TEXT), message(a=TEXT | {"pattern": "^x"}), "a: pattern changed from none to ^x"),
    "format": (message(a=TEXT), message(a=TEXT | {"format": "uuid"}), "a: format changed from none to uuid"),
    "enum": (
        message(a={"type": "string", "enum": ["x", "y"]}),
        message(a={"type": "string", "enum": ["x"]}),
        "a: 'y' no longer allowed",
    ),
    "text to enum": (
        message(a=TEXT),
        message(a={"type": "string", "enum": ["x"]}),
        "a: 'any other value' no longer allowed",
    ),
    "inside null": (
        message(a={"anyOf": [{"type": "number", "maximum": 9}, NULL]}),
        message(a={"anyOf": [{"type": "number", "maximum": 8}, NULL]}),
        "a: maximum fell from 9 to 8",
    ),
    "items": (
        message(a={"type": "array", "items": {"type": "number"}}),
        message(a={"type": "array", "items": {"type": "integer"}}),
        "a[]: type number is no longer allowed, only integer",
    ),
    "values": (
        message(a={"type": "object", "additionalProperties": {"type": "number"}}),
        message(a={"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}),
        "a.*: minimum rose from none to 0",
    ),
    "closed": (
        message(a={"type": "object"}),
        message(a={"type": "object", "additionalProperties": False}),
        "a: other fields no longer allowed",
    ),
    "any to text": (message(a={}), message(a=TEXT), "a: type any is no longer allowed, only string"),
    "nested reference": (
        message(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": message(b=TEXT)}},
        message(a={"$ref": "#/$defs/A"}) | {"$defs": {"A": message(("b",), b=TEXT)}},
        "a.b: newly required",
    ),
    "unknown keyword": (
        message(a=TEXT),
        message(a=TEXT | {"dependentRequired": {"x": ["y"]}}),
        "a: dependentRequired changed from none to {'x': ['y']}",
    ),
}


@pytest.mark.parametrize(("old", "new"), COMPATIBLE.values(), ids=COMPATIBLE.keys())
def test_compatible(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert breaks(old, new) == []


@pytest.mark.parametrize(("old", "new", "problem"), BROKEN.values(), ids=BROKEN.keys())
def test_broken(old: dict[str, Any], new: dict[str, Any], problem: str) -> None:
    assert breaks(old, new) == [problem]
