"""Which services a person has chosen, and the services themselves: an explicit list."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal
from urllib.parse import urlsplit

from loom_models.services import foursquare, google, nominatim, offline, overpass, photon
from loom_models.services.base import Kind, Service
from loom_models.services.client import Client

GeocoderName = Literal["offline", "nominatim", "photon"]
FinderName = Literal["none", "overpass", "foursquare", "google"]
NOBODY: Final[Mapping[Kind, str]] = {"address": offline.NAME, "business": "none"}
"""What is chosen where nothing is said: nobody is asked."""


class ChoiceError(ValueError):
    """A service cannot be used as it is chosen; says which setting is missing."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One chosen service. `url` None is the public one; `interval` None is what that asks for."""

    kind: Kind
    name: str
    url: str | None = None
    key: str | None = None
    contact: str | None = None
    interval: timedelta | None = None

    @property
    def nobody(self) -> bool:
        """Whether nobody is asked."""
        return self.name == NOBODY[self.kind]

    @property
    def host(self) -> str | None:
        """The host that is asked; None where nobody is."""
        return None if self.nobody else urlsplit(self.url or _KNOWN[self.name].url).netloc.rpartition("@")[2]

    @property
    def public(self) -> bool:
        """Whether it is the public server of the service."""
        return self.url is None or self.host == urlsplit(_KNOWN[self.name].url).netloc

    def check(self) -> None:
        """Raise ChoiceError when the service could not be asked."""
        if self.nobody:
            return
        known = _KNOWN[self.name]
        if known.headers is not None and not self.key:
            raise ChoiceError(f"{self.name} needs a key: set LOOM_BUSINESS_FINDER_KEY")
        if known.asks_for_contact and self.public and not self.contact:
            raise ChoiceError(
                f"{self.host} wants to know who asks: set LOOM_LOOKUP_CONTACT to your e-mail address or web page; it "
                "is sent with each request"
            )

    def service(self, make: Callable[..., Client] = Client) -> Service | None:
        """The service; None where nobody is asked. Raises ChoiceError when it could not be asked."""
        self.check()
        if self.nobody:
            return None
        known = _KNOWN[self.name]
        interval = known.interval if self.interval is None else self.interval
        if known.asks_for_contact and self.public:
            interval = max(interval, known.interval)
        client = make(
            self.url or known.url,
            contact=self.contact or "",
            interval=interval,
            headers={} if known.headers is None else known.headers(self.key or ""),
            total_seconds=known.seconds,
        )
        return known.make(client, interval)


@dataclass(frozen=True, slots=True)
class _Known:
    make: Callable[[Client, timedelta], Service]
    url: str
    interval: timedelta
    headers: Callable[[str], dict[str, str]] | None = None
    asks_for_contact: bool = False
    seconds: float = 15.0


_KNOWN: Final[Mapping[str, _Known]] = {
    "nominatim": _Known(nominatim.Nominatim, nominatim.PUBLIC_URL, nominatim.PUBLIC_INTERVAL, asks_for_contact=True),
    "photon": _Known(photon.Photon, photon.PUBLIC_URL, photon.PUBLIC_INTERVAL, asks_for_contact=True),
    "overpass": _Known(
        overpass.Overpass,
        overpass.PUBLIC_URL,
        overpass.PUBLIC_INTERVAL,
        asks_for_contact=True,
        seconds=overpass.SECONDS + 10.0,
    ),
    "foursquare": _Known(foursquare.Foursquare, foursquare.PUBLIC_URL, foursquare.PUBLIC_INTERVAL, foursquare.headers),
    "google": _Known(google.Google, google.PUBLIC_URL, google.PUBLIC_INTERVAL, google.headers),
}
