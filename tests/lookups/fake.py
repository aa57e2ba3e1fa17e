"""A fake of the services' servers in this process: it speaks their real formats, and misbehaves when it is told to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str
    at: float


Reply = tuple[int, str, bytes]
"""Status, content type, body."""


@dataclass
class Fake:
    """`answer` gives the reply to a request; `headers` go with each."""

    answer: Callable[[Seen], Reply]
    seen: list[Seen] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    url: str = ""
    slow: float = 0.0


def ok(document: Any) -> Reply:
    return 200, "application/json", json.dumps(document).encode()


PORTAL: Reply = (200, "text/html; charset=utf-8", b"<html><body>Welcome to the hotel's Wi-Fi</body></html>")


@contextmanager
def serve(answer: Callable[[Seen], Reply]) -> Iterator[Fake]:
    """A server on a port of its own until the block ends."""
    fake = Fake(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, parts.path, query, headers, body, time.monotonic())
            fake.seen.append(seen)
            status, kind, content = fake.answer(seen)
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            for name, value in fake.headers.items():
                self.send_header(name, value)
            self.end_headers()
            half = len(content) // 2
            for part in (content[:half], content[half:]) if fake.slow else (content,):
                self.wfile.write(part)
                self.wfile.flush()
                time.sleep(fake.slow)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def nominatim(latitude: float, longitude: float, **address: object) -> dict[str, Any]:
    """An answer of Nominatim's `/reverse` in the form of `jsonv2`."""
    parts: dict[str, object] = {
        "house_number": "5",
        "road": "Alexanderplatz",
        "suburb": "Mitte",
        "borough": "Mitte",
        "city": "Berlin",
        "ISO3166-2-lvl4": "DE-BE",
        "postcode": "10178",
        "country": "Deutschland",
        "country_code": "de",
    } | address
    return {
        "place_id": 133_444_555,
        "licence": "Data © OpenStreetMap contributors, ODbL 1.0. http://osm.org/copyright",
        "osm_type": "way",
        "osm_id": 4_711,
        "lat": f"{latitude:.7f}",
        "lon": f"{longitude:.7f}",
        "category": "building",
        "type": "retail",
        "place_rank": 30,
        "importance": 9.99e-06,
        "addresstype": "building",
        "name": "",
        "display_name": ", ".join(str(part) for part in [*parts.values()][:4]),
        "address": parts,
        "boundingbox": [str(latitude - 1e-4), str(latitude + 1e-4), str(longitude - 1e-4), str(longitude + 1e-4)],
    }


def photon(latitude: float, longitude: float, **properties: Any) -> dict[str, Any]:
    """An answer of Photon's `/reverse`."""
    told = {
        "osm_type": "W",
        "osm_id": 4_711,
        "osm_key": "building",
        "osm_value": "retail",
        "type": "house",
        "countrycode": "DE",
        "name": "Kaufhaus",
        "housenumber": "5",
        "street": "Alexanderplatz",
        "district": "Mitte",
        "postcode": "10178",
        "city": "Berlin",
        "country": "Deutschland",
    } | properties
    geometry = {"type": "Point", "coordinates": [longitude, latitude]}
    return {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": told, "geometry": geometry}],
    }


def overpass(*elements: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An answer of Overpass' interpreter."""
    about = {"timestamp_osm_base": "2026-01-15T08:30:00Z", "copyright": "The data is from www.openstreetmap.org."}
    return {"version": 0.6, "generator": "Overpass API 0.7.62", "osm3s": about, "elements": list(elements), **more}


def node(number: int, latitude: float, longitude: float, **tags: str) -> dict[str, Any]:
    """A node in an answer of Overpass."""
    named = {name.replace("__", ":"): value for name, value in tags.items()}
    return {"type": "node", "id": number, "lat": latitude, "lon": longitude, "tags": named}
