import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from loom_platform import georegions
from loom_platform.cli.georegions import app
from loom_platform.georegions import GeoregionError

SQUARE: dict[str, Any] = {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]}


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (("Home", "home", 91.0, 0.0, 100.0), "latitude 91.0"),
        (("Home", "home", 0.0, -180.5, 100.0), "longitude -180.5"),
        (("Home", "home", float("nan"), 0.0, 100.0), "latitude nan"),
        (("Home", "home", 0.0, 0.0, 1.0), "radius_m 1.0: must be from 5 to 100000 metres"),
        (("Home", "home", 0.0, 0.0, float("nan")), "radius_m nan"),
        (("Home", "gym", 0.0, 0.0, 100.0), "kind 'gym': must be one of home, work, custom"),
        (("  ", "home", 0.0, 0.0, 100.0), "name ''"),
    ],
)
def test_a_circle_that_is_wrong_says_why(values: tuple[str, str, float, float, float], complaint: str) -> None:
    with pytest.raises(GeoregionError, match=complaint):
        georegions.circle(*values)


@pytest.mark.parametrize(
    ("geometry", "complaint"),
    [
        ({"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, "geometry type 'LineString'"),
        ({"type": "Polygon"}, "not valid GeoJSON"),
        ({"type": "Polygon", "coordinates": [[[0, 0], ["a", 0]]]}, "not valid GeoJSON"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}, "Self-intersection"),
        ({"type": "Polygon", "coordinates": [[[170, 0], [-170, 0], [-170, 5], [170, 5], [170, 0]]]}, "antimeridian"),
        ({"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, -60], [-180, -60], [-180, -90]]]}, "pole"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 95], [0, 0]]]}, "latitude 95.0"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [2, 0], [0, 0]]]}, "not a simple shape|no area"),
        ({"type": "Polygon", "coordinates": []}, "no area|not valid"),
    ],
)
def test_a_polygon_that_is_wrong_says_why(geometry: dict[str, Any], complaint: str) -> None:
    with pytest.raises(GeoregionError, match=complaint):
        georegions.polygon("Park", "custom", geometry)


def test_a_polygon_is_centred_on_its_centroid() -> None:
    draft = georegions.polygon("Park", "custom", SQUARE)
    assert (draft.latitude, draft.longitude, draft.radius_m) == (1.0, 1.0, None)
    assert draft.polygon is not None
    assert draft.polygon["type"] == "Polygon"


@pytest.mark.integration
def test_every_change_takes_a_new_revision(connection: psycopg.Connection[Any]) -> None:
    home = georegions.add(connection, georegions.circle("Home", "home", 1.0, 2.0, 100.0))
    bigger = georegions.replace(connection, home, georegions.circle("Home", "home", 1.0, 2.0, 200.0))
    assert bigger.id == home.id
    assert bigger.revision > home.revision
    assert georegions.find(connection, "HOME") == bigger
    assert georegions.find(connection, str(home.id)) == bigger
    with pytest.raises(GeoregionError, match="'home' is saved already"):
        georegions.add(connection, georegions.circle("home", "home", 1.0, 2.0, 100.0))
    georegions.remove(connection, bigger)
    assert georegions.saved(connection) == []
    with pytest.raises(GeoregionError, match="removed meanwhile"):
        georegions.replace(connection, bigger, georegions.circle("Home", "home", 1.0, 2.0, 300.0))
    assert georegions.add(connection, georegions.circle("Home", "home", 1.0, 2.0, 100.0)).id != home.id


@pytest.mark.integration
def test_the_command_line(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_DATABASE_URL", database_url)

    def loom(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result.output

    assert "no georegion is saved" in loom("list")
    loom("add", "Home", "--kind", "home", "--latitude", "1", "--longitude", "2", "--radius", "100")
    shape = tmp_path / "park.json"
    shape.write_text(json.dumps(SQUARE))
    loom("add", "Park", "--polygon", str(shape))
    assert "already" in loom("add", "park", "--polygon", str(shape), code=1)
    assert "radius_m 1.0" in loom("add", "Dot", "--latitude", "1", "--longitude", "2", "--radius", "1", code=1)
    assert "needs --latitude" in loom("add", "Dot", code=1)
    assert "revision" in loom("edit", "home", "--radius", "250", "--name", "Nest")
    assert [(r["name"], r["radius_m"]) for r in json.loads(loom("list", "--json"))] == [("Nest", 250.0), ("Park", None)]
    assert "no georegion 'Home'; saved are: Nest, Park" in loom("show", "Home", code=1)
    nest, park = json.loads(loom("show", "Nest")), json.loads(loom("show", "Park"))
    loom("remove", "Nest")
    collection = tmp_path / "all.json"
    collection.write_text(json.dumps({"type": "FeatureCollection", "features": [nest, park]}))
    assert "already" in loom("import", str(collection), code=1)
    assert [r["name"] for r in json.loads(loom("list", "--json"))] == ["Park"]
    loom("import", "--replace", str(collection))
    assert [r["name"] for r in json.loads(loom("list", "--json"))] == ["Nest", "Park"]
