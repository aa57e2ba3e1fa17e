"""The flows' specifications: the files in docs/flows are what the objects say, and what their schema allows."""

from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from loom_models.flows import FLOWS, STAGES, Flow
from loom_models.specification import FlowSpecification, json_schema, specification_of
from loom_platform.cli.flows import files
from loom_platform.cli.main import app

COMMITTED = Path(__file__).parents[2] / "docs/flows/specifications"


def test_the_committed_files_are_what_the_flows_are() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in COMMITTED.iterdir()}
    assert found == files(), "run `loom flows export docs/flows/specifications`"


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_specification_is_valid_and_survives_its_file(flow: Flow) -> None:
    content = yaml.safe_load(files()[f"{flow.name}.yaml"])
    jsonschema.Draft202012Validator(json_schema()).validate(content)
    assert FlowSpecification.model_validate(content) == specification_of(flow)


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
