"""The flows' specifications: the files in docs/flows are what the objects say, and what their schema allows."""

from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from loom_models.flows import FLOWS, STAGES, Flow
from loom_models.specification import FlowSpecification, json_schema, specification_of
from loom_platform.cli.flows import files
from loom_platform.cli.main import app

SVG = "{http://www.w3.org/2000/svg}"
FIVE = [f for f in FLOWS if f.name != "audio-processing" and any(not stage.landing for stage in f.stages)]
COMMITTED = Path(__file__).parents[2] / "docs/flows/specifications"


def test_the_committed_files_are_what_the_flows_are() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in COMMITTED.iterdir()}
    assert found == files(), "run `loom flows export docs/flows/specifications`"


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_specification_is_valid_and_survives_its_file(flow: Flow) -> None:
    content = yaml.safe_load(files()[f"{flow.name}.yaml"])
    jsonschema.Draft202012Validator(json_schema()).validate(content)
    assert FlowSpecification.model_validate(content) == specification_of(flow)


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_picture_shows_every_topic_and_stage_once_and_none_over_another(flow: Flow) -> None:
    root = ElementTree.fromstring(files()[f"{flow.name}.svg"])  # noqa: S314
    kinds = ("topic", "other", "stage")
    shapes = [r for r in root.iter(f"{SVG}rect") if r.get("class") in kinds]
    names = [t.text for t in root.iter(f"{SVG}text") if t.get("class") is None]
    derived = [s for s in flow.stages if not s.landing]
    topics = {t.name for s in flow.stages for t in (s.source, *s.sinks, *s.wakes)}
    assert sorted(str(name) for name in names) == sorted([*topics, *(s.name for s in derived)])
    boxes = [tuple(float(r.get(k, "")) for k in ("x", "y", "width", "height")) for r in shapes]
    for one, other in combinations(boxes, 2):
        apart = one[0] + one[2] <= other[0] or other[0] + other[2] <= one[0]
        assert apart or one[1] + one[3] <= other[1] or other[1] + other[3] <= one[1]
    arrows = [p.get("class") for p in root.iter(f"{SVG}path") if p.get("class")]
    assert arrows.count("reads") == sum(1 + len(s.sinks) for s in derived)
    assert arrows.count("wakes") == sum(len(s.wakes) for s in derived)


@pytest.mark.parametrize("flow", FIVE, ids=lambda flow: flow.name)
def test_a_page_shows_its_picture_and_tells_of_each_stage_and_table(flow: Flow) -> None:
    page = (COMMITTED.parent / f"{flow.name}.md").read_text(encoding="utf-8")
    assert f"](specifications/{flow.name}.svg)" in page
    assert f"]({flow.name}.md)" in (COMMITTED.parent / "README.md").read_text(encoding="utf-8")
    for stage in flow.stages:
        if not stage.landing:
            assert f"| `{stage.name}` |" in page
            assert all(f"`{sink.table.name}_current`" in page for sink in stage.sinks)


def test_the_schema_refuses_what_is_no_flow() -> None:
    content = specification_of(FLOWS[0]).model_dump(mode="json")
    validator = jsonschema.Draft202012Validator(json_schema())
    wrongs: list[dict[str, object]] = [
        {"priority": "urgent"},
        {"stages": []},
        {"events_per_second": 0},
        {"name": "Not a name"},
        {"more": 1},
    ]
    for wrong in wrongs:
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(content | wrong)


def test_every_stage_is_specified_once_with_its_limits() -> None:
    told = [stage for flow in FLOWS for stage in specification_of(flow).stages]
    assert [stage.name for stage in told] == [stage.name for stage in STAGES]
    for stage, one in zip(STAGES, told, strict=True):
        assert one.sla_seconds == stage.policy.sla.total_seconds() > 0
        assert one.outputs[0].table == stage.sinks[0].table.name
        assert one.batch.max_wait_ms == stage.policy.max_wait.total_seconds() * 1000


def test_the_commands(tmp_path: Path) -> None:
    runner = CliRunner()
    assert "location-enrichment" in runner.invoke(app, ["flows", "list"]).output
    shown = runner.invoke(app, ["flows", "show", "location-enrichment"])
    assert shown.output == files()["location-enrichment.yaml"]
    unknown = runner.invoke(app, ["flows", "show", "locations"])
    assert unknown.exit_code == 2
    assert "location-enrichment" in unknown.output
    assert runner.invoke(app, ["flows", "export", str(tmp_path / "new")]).exit_code == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(files())
