"""A flow as a picture: its topics, the stages between them, and what wakes those. SVG, for people and for the docs.

Columns of topics and stages take turns, from the raw topics on the left to what is known in the end on the right.
"""

from dataclasses import dataclass
from itertools import groupby
from typing import Final
from xml.sax.saxutils import escape

from loom_contracts.topic import Topic
from loom_models.flows import Flow
from loom_models.stage import Stage

_LETTER, _HEIGHT = 7, 44
_ACROSS, _DOWN, _MARGIN = 60, 18, 24
_STYLE: Final = """  <style>
    text { font-family: Helvetica, Arial, sans-serif; font-size: 13px; fill: #1f2530; text-anchor: middle }
    .note { font-size: 11px; fill: #5b6472 }
    .topic { fill: #eef3fb; stroke: #3b4252; stroke-width: 1.3 }
    .other { fill: #fff; stroke: #9aa3b2; stroke-width: 1.3 }
    .stage { fill: #fdf6e8; stroke: #c78b1e; stroke-width: 1.3 }
    .reads { fill: none; stroke: #5b6472; stroke-width: 1.6; marker-end: url(#arrow) }
    .wakes { fill: none; stroke: #9aa3b2; stroke-width: 1.3; stroke-dasharray: 5 4; marker-end: url(#arrow) }
  </style>
  <defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="6" markerHeight="6" orient="auto">
    <path d="M0 0 L10 5 L0 10 z" fill="#5b6472"/></marker></defs>"""


@dataclass(frozen=True, slots=True)
class _Box:
    """One thing in the picture: in which column, and how it looks."""

    name: str
    note: str
    kind: str
    column: int

    @property
    def width(self) -> int:
        return 30 + _LETTER * max(len(self.name), len(self.note) - 5)


def drawing_of(flow: Flow) -> str:
    """The picture of `flow`."""
    boxes = _boxes(flow)
    columns = [list(group) for _, group in groupby(sorted(boxes, key=lambda b: b.column), key=lambda b: b.column)]
    height = 2 * _MARGIN + max(len(c) * (_HEIGHT + _DOWN) - _DOWN for c in columns)
    places: dict[str, tuple[int, int, int]] = {}
    left = _MARGIN
    for column in columns:
        wide = max(box.width for box in column)
        top = (height - len(column) * (_HEIGHT + _DOWN) + _DOWN) // 2
        for row, box in enumerate(column):
            places[box.name] = (left, top + row * (_HEIGHT + _DOWN), wide)
        left += wide + _ACROSS
    width = left - _ACROSS + _MARGIN
    body = [*_arrows(flow, places), *(_drawn(box, *places[box.name]) for box in boxes)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
            f"  <title>{escape(flow.name)}: {escape(flow.description)}</title>",
            _STYLE,
            f'  <rect width="{width}" height="{height}" fill="#f7f8fa"/>',
            *body,
            "</svg>\n",
        ]
    )


def _boxes(flow: Flow) -> list[_Box]:
    """Topics and stages; a topic of another flow is where a raw one would be."""
    landed = {stage.source for stage in flow.stages if stage.landing}
    columns: dict[Topic, int] = dict.fromkeys(landed, 0)
    boxes = [_Box(s.source.name, f"stored in {s.source.table.name}", "topic", 0) for s in flow.stages if s.landing]

    def known(topic: Topic) -> int:
        if topic not in columns:
            columns[topic] = 0
            boxes.append(_Box(topic.name, "of another flow", "other", 0))
        return columns[topic]

    for stage in _derived(flow):
        column = max(known(stage.source), *(known(topic) for topic in stage.wakes), 0) + 1
        boxes.append(_Box(stage.name, f"SLA {stage.policy.sla.total_seconds():g} s", "stage", column))
        for sink in stage.sinks:
            columns[sink] = column + 1
            boxes.append(_Box(sink.name, sink.table.name, "topic", column + 1))
    return boxes


def _derived(flow: Flow) -> list[Stage]:
    return [stage for stage in flow.stages if not stage.landing]


def _arrows(flow: Flow, places: dict[str, tuple[int, int, int]]) -> list[str]:
    arrows = [
        (kind, source.name, stage.name)
        for stage in _derived(flow)
        for kind, sources in (("wakes", stage.wakes), ("reads", (stage.source,)))
        for source in sources
    ]
    arrows += [("reads", stage.name, sink.name) for stage in _derived(flow) for sink in stage.sinks]
    return [_arrow(kind, places[a], places[b]) for kind, a, b in arrows]


def _arrow(kind: str, a: tuple[int, int, int], b: tuple[int, int, int]) -> str:
    x, y = a[0] + a[2], a[1] + _HEIGHT // 2
    to_x, to_y = b[0] - 2, b[1] + _HEIGHT // 2
    bend = max(_ACROSS // 2, (to_x - x) // 2)
    return f'  <path class="{kind}" d="M{x} {y} C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"/>'


def _drawn(box: _Box, left: int, top: int, width: int) -> str:
    middle, corner = left + width // 2, 14 if box.kind == "stage" else 4
    return (
        f'  <rect class="{box.kind}" x="{left}" y="{top}" width="{width}" height="{_HEIGHT}" rx="{corner}"/>\n'
        f'  <text x="{middle}" y="{top + 19}">{escape(box.name)}</text>\n'
        f'  <text class="note" x="{middle}" y="{top + 35}">{escape(box.note)}</text>'
    )
