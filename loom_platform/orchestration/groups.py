"""Stage groups: which stages share one asset function and so one stream run. No dagster here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from loom_contracts.topic import Topic
from loom_models.flows import Flow
from loom_models.stage import Stage


@dataclass(frozen=True)
class StageGroup:
    """Stages that run in one process. `flow_of` names the flow of each stage; stages are in topological order."""

    name: str
    stages: tuple[Stage, ...]
    flow_of: Mapping[str, str]

    @cached_property
    def stage_of(self) -> Mapping[Topic, Stage]:
        """The stage that fills each topic."""
        return {sink: stage for stage in self.stages for sink in stage.sinks}

    @property
    def sinks(self) -> tuple[Topic, ...]:
        """Every topic that the group fills, in topological order."""
        return tuple(self.stage_of)

    def filling(self, topics: Iterable[Topic]) -> tuple[Stage, ...]:
        """The stages that fill any of `topics`, in topological order."""
        wanted = {self.stage_of[t].name for t in topics}
        return tuple(s for s in self.stages if s.name in wanted)

    def sources_of(self, names: Iterable[str]) -> tuple[Stage, ...]:
        """The stages that fill what the stages called `names` read, and what those read, without `names` themselves."""
        wanted = set(names)
        found: set[str] = set()
        # Each stage comes after the one that fills its source, so one pass from the last to the first finds them all.
        for stage in reversed(self.stages):
            source = self.stage_of.get(stage.source)
            if stage.name in wanted | found and source is not None and source.name not in wanted | {stage.name}:
                found.add(source.name)
        return self.named(found)

    def named(self, names: Iterable[str]) -> tuple[Stage, ...]:
        """The stages called `names`, in topological order."""
        wanted = set(names)
        return tuple(s for s in self.stages if s.name in wanted)


AUDIO_CATEGORIES = ("device.audio", "media.audio")
"""Topics whose stages are heavy: they have a process of their own."""


def groups_of(flows: Sequence[Flow]) -> tuple[StageGroup, ...]:
    """The stages of all flows as two groups, `sensors` and `audio`; a stage belongs to the first flow that lists it."""
    flow_of: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    for flow in flows:
        for stage in flow.stages:
            stages.setdefault(stage.name, stage)
            flow_of.setdefault(stage.name, flow.name)
    audio = {n for n, s in stages.items() if s.source.name.startswith(AUDIO_CATEGORIES)}
    return tuple(
        StageGroup(name, topological([stages[n] for n in stages if (n in audio) == is_audio]), flow_of)
        for name, is_audio in (("sensors", False), ("audio", True))
    )


def topological(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Each stage after the one that fills its source. Raises ValueError when there is a circle."""
    left = list(stages)
    ordered: list[Stage] = []
    while left:
        unfilled = {sink for s in left if not s.landing for sink in s.sinks} | {s.source for s in left if s.landing}
        ready = [s for s in left if s.landing or s.source not in unfilled]
        if not ready:
            raise ValueError(f"stages {[s.name for s in left]} wait for each other's topics; break the circle")
        ordered += ready
        left = [s for s in left if s not in ready]
    return tuple(ordered)
