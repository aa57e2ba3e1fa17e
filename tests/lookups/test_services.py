"""Each service against a fake server that speaks its format, and every way in which one can fail."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest

from loom_models.services.base import Address, AwayError, Business, Point, Service, UnbelievableError
from loom_models.services.choice import Choice, ChoiceError, Kind
from loom_models.services.client import Client
from loom_models.services.make import service_of
from loom_models.services.nominatim import Nominatim
from tests.lookups.fake import PORTAL, Reply, Seen, node, nominatim, ok, overpass, photon, serve

HOUSE, BLOCK = Point.of("u33dc1v0"), Point.of("u33dc1v")
KINDS: dict[str, Kind] = {
    "nominatim": "address",
    "photon": "address",
    "overpass": "business",
    "foursquare": "business",
    "google": "business",
}
NONE_THERE: dict[str, Any] = {
    "nominatim": {"error": "Unable to geocode"},
    "photon": {"type": "FeatureCollection", "features": []},
    "overpass": overpass(),
    "foursquare": {"results": [], "context": {}},
    "google": {},
}


@contextmanager
def service(name: str, url: str) -> Iterator[Service]:
    made = service_of(Choice(KINDS[name], name, url, "the-key", "ada@example.org"))
    assert made is not None
    with closing(made):
        yield made


def asked(name: str, answer: Callable[[Seen], Reply]) -> tuple[Any, list[Seen]]:
    """What a service makes of the answer about one cell, and the requests for it."""
    point = HOUSE if KINDS[name] == "address" else BLOCK
    with serve(answer) as fake, service(name, fake.url) as one:
        found = one.ask([point.cell])
    assert list(found) == [point.cell]
    return found[point.cell], fake.seen


def test_nominatim() -> None:
    found, (seen,) = asked("nominatim", lambda _: ok(nominatim(HOUSE.latitude, HOUSE.longitude)))
    assert found == Address(
        display_name="5, Alexanderplatz, Mitte, Mitte",
        house_number="5",
        road="Alexanderplatz",
        suburb="Mitte",
        city="Berlin",
        postcode="10178",
        country="Deutschland",
        country_code="de",
        provider_place_id="way/4711",
        latitude=round(HOUSE.latitude, 7),
        longitude=round(HOUSE.longitude, 7),
    )
    assert (seen.method, seen.path) == ("GET", "/reverse")
    assert seen.query["format"] == "jsonv2"
    assert "ada@example.org" in seen.headers["user-agent"]


def test_what_is_sent_is_the_middle_of_the_cell_and_nothing_else() -> None:
    _, (seen,) = asked("nominatim", lambda _: ok(nominatim(HOUSE.latitude, HOUSE.longitude)))
    middle = {"lat": f"{HOUSE.latitude:.6f}", "lon": f"{HOUSE.longitude:.6f}"}
    assert seen.query == {**middle, "format": "jsonv2", "zoom": "18", "addressdetails": "1"}
    assert set(seen.headers) <= {"host", "accept", "accept-encoding", "connection", "user-agent"}


def test_the_middle_of_a_long_road_may_be_far_away() -> None:
    answer = nominatim(HOUSE.latitude + 0.2, HOUSE.longitude)
    del answer["address"]["house_number"]
    assert isinstance(asked("nominatim", lambda _: ok(answer))[0], UnbelievableError)
    answer["boundingbox"][0] = str(HOUSE.latitude - 0.1)
    found, _ = asked("nominatim", lambda _: ok(answer))
    assert (found.road, found.latitude) == ("Alexanderplatz", None)


def test_photon() -> None:
    found, (seen,) = asked("photon", lambda _: ok(photon(HOUSE.latitude, HOUSE.longitude)))
    assert found.display_name == "Kaufhaus, Alexanderplatz 5, 10178 Berlin, Deutschland"
    assert (found.road, found.house_number, found.city, found.country_code) == ("Alexanderplatz", "5", "Berlin", "de")
    assert found.provider_place_id == "way/4711"
    assert seen.path == "/reverse"


def test_a_street_of_photon_has_no_house() -> None:
    answer = photon(HOUSE.latitude, HOUSE.longitude, type="street", name="Allee", street=None)
    del answer["features"][0]["properties"]["housenumber"]
    found, _ = asked("photon", lambda _: ok(answer))
    assert (found.road, found.house_number, found.latitude) == ("Allee", None, None)
    assert found.display_name == "Allee, 10178 Berlin, Deutschland"


def test_overpass() -> None:
    at = (BLOCK.latitude, BLOCK.longitude)
    way = {"type": "way", "id": 7, "center": {"lat": at[0], "lon": at[1]}, "tags": {"name": "Park", "leisure": "park"}}
    cafe = node(1, at[0] + 1e-4, at[1], name="Café", amenity="cafe", addr__street="Allee", addr__housenumber="3")
    bench, nameless = node(2, *at, name="Bank", amenity="bench"), node(3, *at, shop="bakery")
    found, (seen,) = asked("overpass", lambda _: ok(overpass(cafe, bench, nameless, way)))
    assert [b.name for b in found] == ["Park", "Café"]
    assert found[1].model_dump(exclude={"latitude", "longitude"}) == {
        "name": "Café",
        "category": "cafe",
        "address": "Allee 3",
        "provider_place_id": "node/1",
    }
    assert (seen.method, seen.path) == ("POST", "/api/interpreter")


def test_overpass_answers_many_cells_in_one_request() -> None:
    cells = ["u33dc1v", "u33dc1y", "u281z7j"]
    points = [Point.of(c) for c in cells]
    far = points[2]
    there = overpass(node(1, far.latitude, far.longitude, name="Wirt", amenity="pub"))
    with serve(lambda _: ok(there)) as fake, service("overpass", fake.url) as one:
        found = one.ask(cells)
    assert len(fake.seen) == 1
    assert fake.seen[0].body.count("around") == 3
    assert (found[cells[0]], found[cells[1]]) == (None, None)
    (pub,) = found[cells[2]]  # type: ignore[misc]
    assert isinstance(pub, Business)


FOURSQUARE = {
    "fsq_place_id": "4bf5", "name": "Café", "latitude": BLOCK.latitude, "longitude": BLOCK.longitude,
    "categories": [{"fsq_category_id": "4bf", "name": "Coffee Shop"}], "location": {"formatted_address": "Allee 3"},
}  # fmt: skip
FOURSQUARE_V3 = {
    "fsq_id": "4bf5", "name": "Café", "geocodes": {"main": {"latitude": BLOCK.latitude, "longitude": BLOCK.longitude}},
    "categories": [{"id": 13032, "name": "Coffee Shop"}], "location": {"formatted_address": "Allee 3"},
}  # fmt: skip


@pytest.mark.parametrize("place", [FOURSQUARE, FOURSQUARE_V3], ids=["2025", "v3"])
def test_foursquare(place: dict[str, Any]) -> None:
    found, (seen,) = asked("foursquare", lambda _: ok({"results": [place]}))
    assert [(b.name, b.category, b.address, b.provider_place_id) for b in found] == [
        ("Café", "Coffee Shop", "Allee 3", "4bf5")
    ]
    assert seen.headers["authorization"] == "Bearer the-key"
    assert (seen.path, seen.query["radius"]) == ("/places/search", "160")


def test_google() -> None:
    where = {"latitude": BLOCK.latitude, "longitude": BLOCK.longitude}
    place = {"id": "ChIJ", "displayName": {"text": "Café", "languageCode": "de"}, "location": where}
    answer = {"places": [place | {"primaryType": "cafe", "formattedAddress": "Allee 3"}]}
    found, (seen,) = asked("google", lambda _: ok(answer))
    assert [(b.name, b.category, b.address, b.provider_place_id) for b in found] == [
        ("Café", "cafe", "Allee 3", "ChIJ")
    ]
    assert seen.headers["x-goog-api-key"] == "the-key"
    assert json.loads(seen.body)["locationRestriction"]["circle"]["radius"] == 160.0
    assert seen.path == "/v1/places:searchNearby"


@pytest.mark.parametrize("name", KINDS)
def test_nothing_there_is_an_answer(name: str) -> None:
    assert asked(name, lambda _: ok(NONE_THERE[name]))[0] is None


@pytest.mark.parametrize("name", KINDS)
def test_no_answer_is_not_an_answer(name: str) -> None:
    replies: list[Reply] = [
        PORTAL,
        (200, "application/json", b'{"results": [{"na'),
        (200, "application/json", b"[1, 2]"),
        (200, "application/json", b'"yes"'),
        (302, "text/html", b""),
        (500, "text/html", b"<h1>oops</h1>"),
        (504, "text/html", b""),
        (403, "text/plain", b"blocked"),
    ]
    with serve(lambda _: replies.pop()) as fake, service(name, fake.url) as one:
        while replies:
            with pytest.raises(AwayError):
                one.ask([HOUSE.cell])


@pytest.mark.parametrize("name", KINDS)
def test_places_elsewhere_are_a_lie(name: str) -> None:
    away = (-33.9, 18.4)
    where = {"latitude": away[0], "longitude": away[1]}
    lies = {
        "nominatim": nominatim(*away),
        "photon": photon(*away),
        "overpass": overpass(node(1, *away, name="Café", amenity="cafe")),
        "foursquare": {"results": [FOURSQUARE | where]},
        "google": {"places": [{"id": "1", "displayName": {"text": "Café"}, "location": where}]},
    }
    assert isinstance(asked(name, lambda _: ok(lies[name]))[0], UnbelievableError)


@pytest.mark.parametrize("latitude", ["NaN", "1e400", "north", None, "91"], ids=str)
def test_a_position_that_is_none_is_a_lie(latitude: str | None) -> None:
    answer = nominatim(HOUSE.latitude, HOUSE.longitude) | {"lat": latitude}
    assert isinstance(asked("nominatim", lambda _: ok(answer))[0], UnbelievableError)


def test_what_does_not_fit_is_cut_or_left_out() -> None:
    odd = {"road": "x" * 1000, "city": "Ber\x00lin", "country_code": "deu", "postcode": 10178, "suburb": ["Mitte"]}
    found, _ = asked("nominatim", lambda _: ok(nominatim(HOUSE.latitude, HOUSE.longitude, **odd)))
    assert (found.road, found.city, found.country_code) == ("x" * 256, "Berlin", None)
    assert (found.postcode, found.suburb) == ("10178", None)


def test_a_remark_of_overpass_means_that_something_is_missing() -> None:
    with pytest.raises(AwayError, match="not complete"):
        asked("overpass", lambda _: ok(overpass(remark="runtime error: Query timed out")))


def test_too_many_requests_tell_when_to_come_back() -> None:
    with serve(lambda _: (429, "text/plain", b"")) as fake:
        fake.headers["retry-after"] = "120"
        with service("nominatim", fake.url) as one, pytest.raises(AwayError) as told:
            one.ask([HOUSE.cell])
    assert told.value.retry_after == timedelta(seconds=120)


def test_an_answer_that_never_ends_is_none() -> None:
    with serve(lambda _: ok(nominatim(HOUSE.latitude, HOUSE.longitude))) as fake:
        fake.slow = 0.3
        client = Client(fake.url, total_seconds=0.2)
        started = time.monotonic()
        with pytest.raises(AwayError):
            Nominatim(client, timedelta(0)).ask([HOUSE.cell])
        assert time.monotonic() - started < 2
        client.close()


def test_a_server_that_is_not_there() -> None:
    with serve(lambda _: PORTAL) as fake:
        pass
    with service("photon", fake.url) as one, pytest.raises(AwayError, match="no answer"):
        one.ask([HOUSE.cell])


def test_nobody_is_asked_by_default() -> None:
    assert service_of(Choice("address", "offline")) is None
    assert service_of(Choice("business", "none")) is None


def test_a_public_server_is_told_who_asks_and_keeps_its_pace() -> None:
    with pytest.raises(ChoiceError, match="LOOM_LOOKUP_CONTACT"):
        Choice("address", "nominatim").check()
    with pytest.raises(ChoiceError, match="LOOM_BUSINESS_FINDER_KEY"):
        Choice("business", "google").check()
    public = Choice("address", "nominatim", contact="ada@example.org", apart=timedelta(0))
    assert public.interval == timedelta(seconds=1)
    own = Choice("address", "nominatim", "http://localhost:8080", apart=timedelta(0))
    own.check()
    assert own.interval == timedelta(0)
    named = Choice("address", "nominatim", "https://nominatim.openstreetmap.org/")
    assert named.public
