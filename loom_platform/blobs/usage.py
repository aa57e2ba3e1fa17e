"""How much the bodies take, as they are stored."""

from collections.abc import Callable
from dataclasses import dataclass

from loom_platform.blobs.objects import Objects
from loom_platform.blobs.references import parsed


@dataclass(slots=True)
class Usage:
    """Bodies of one kind and device, and their stored bytes.

    `device_id` is empty for bodies from before the keys, and `kind` too for objects that are none of Loom's.
    """

    kind: str
    device_id: str
    bodies: int = 0
    bytes: int = 0


def usage(objects: Objects, progress: Callable[[int], None] = lambda _: None) -> list[Usage]:
    """What is stored, by kind and device. It lists the whole store. `progress` is told how many there are so far."""
    found: dict[tuple[str, str], Usage] = {}
    seen = 0
    for listed in objects.list():
        for each in listed:
            reference = parsed(each.key)
            key = ("", "") if reference is None else (reference.kind, reference.device_id or "")
            mine = found.setdefault(key, Usage(*key))
            mine.bodies += 1
            mine.bytes += each.size_bytes
        seen += len(listed)
        progress(seen)
    return [found[key] for key in sorted(found)]
