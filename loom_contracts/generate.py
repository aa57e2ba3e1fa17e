"""The JSON Schemas of all topics: `python -m loom_contracts.generate` writes them, `--check` compares."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from loom_contracts.compatibility import breaks
from loom_contracts.errors import ContractError
from loom_contracts.topic import Topic
from loom_contracts.topics.registry import TOPICS

SCHEMAS: Final = Path(__file__).parent / "schemas"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_ALWAYS_SENT: Final = ("schema_version", "message_id", "device_id", "timestamp")
"""Fields that have a default when a message is made, and are always there on the wire."""


def schema_of(topic: Topic) -> dict[str, Any]:
    """The JSON Schema (Draft 2020-12) of the messages on `topic`."""
    schema = _untitled(topic.payload.model_json_schema(mode="validation"))
    required = (*_ALWAYS_SENT, *(n for n in schema.pop("required", ()) if n not in _ALWAYS_SENT))
    description = schema.pop("description", topic.payload.__doc__ or "")
    return {
        "$schema": _DIALECT,
        "$id": f"urn:loom:schema:{topic.name}:v{topic.major_version}",
        "title": topic.name,
        "description": f"{topic.description} {' '.join(description.split())}",
        **schema,
        "required": list(required),
        "examples": [topic.example],
    }


def rendered(topic: Topic) -> str:
    """The text of its file."""
    return json.dumps(schema_of(topic), indent=2, ensure_ascii=False) + "\n"


def drift(folder: Path = SCHEMAS) -> Iterator[str]:
    """What differs between the topics and the files below `folder`, a sentence for each."""
    wanted = {folder / t.schema_path: rendered(t) for t in TOPICS}
    for path, text in wanted.items():
        if not path.exists():
            yield f"{path} is missing"
        elif path.read_text(encoding="utf-8") != text:
            yield f"{path} is not what its topic says"
    for path in sorted(folder.rglob("*.json")):
        if path not in wanted and path.name == "v1.json":
            yield f"{path} belongs to no topic"


def incompatibilities(folder: Path = SCHEMAS) -> Iterator[str]:
    """What the files below `folder` allow and the topics of the same major version do not, a sentence for each."""
    for topic in TOPICS:
        path = folder / topic.schema_path
        if path.exists():
            for difference in breaks(json.loads(path.read_text(encoding="utf-8")), schema_of(topic)):
                yield f"{topic.name} v{topic.major_version}: {difference}"


def write(folder: Path = SCHEMAS, *, unreleased: bool = False) -> None:
    """Write the files below `folder`; earlier major versions stay.

    Raises ContractError when a topic breaks compatibility with its own file, unless that version is `unreleased`.
    """
    broken = [] if unreleased else list(incompatibilities(folder))
    if broken:
        raise ContractError("\n".join((*broken, "keep the field, or give the topic its next major_version")))
    for topic in TOPICS:
        path = folder / topic.schema_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rendered(topic), encoding="utf-8")


def _untitled(value: Any, *, of_properties: bool = False) -> Any:
    """`value` without the titles that pydantic makes of field names; a property called title stays."""
    if isinstance(value, dict):
        return {
            k: _untitled(v, of_properties=k in ("properties", "$defs") and not of_properties)
            for k, v in value.items()
            if of_properties or not (k == "title" and isinstance(v, str))
        }
    return [_untitled(v) for v in value] if isinstance(value, list) else value


def main(arguments: list[str] | None = None) -> int:
    """Entry point; 1 when `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m loom_contracts.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--unreleased", action="store_true", help="allow a break: no one uses this version yet")
    options = parser.parse_args(arguments)
    if not options.check:
        try:
            write(unreleased=options.unreleased)
        except ContractError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        return 0
    differences = list(drift())
    for difference in differences:
        sys.stderr.write(f"{difference}; run `python -m loom_contracts.generate`\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
