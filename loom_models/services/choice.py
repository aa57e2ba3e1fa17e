"""Which services there are, and which a person has chosen: an explicit list, and nothing of how they are asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal
from urllib.parse import urlsplit

Kind = Literal["address", "business"]
GeocoderName = Literal["offline", "nominatim", "photon"]
FinderName = Literal["none", "overpass", "foursquare", "google"]
NOBODY: Final[Mapping[Kind, str]] = {"address": "offline", "business": "none"}
"""What is chosen where nothing is said: nobody is asked."""


class ChoiceError(ValueError):
    """A service cannot be used as it is chosen; says which setting is missing."""


@dataclass(frozen=True, slots=True)
class Public:
    """The public server of a service: where it is, how far apart its keepers want requests, and what they ask for.

    `answers_in` is how long a request may take.
    """

    url: str
    interval: timedelta
    needs_key: bool = False
    asks_for_contact: bool = False
    answers_in: timedelta = timedelta(seconds=15)

    @property
    def host(self) -> str:
        """Its host."""
        return urlsplit(self.url).netloc


PUBLIC: Final[Mapping[str, Public]] = {
    "nominatim": Public("https://nominatim.openstreetmap.org", timedelta(seconds=1), asks_for_contact=True),
    "photon": Public("https://photon.komoot.io", timedelta(seconds=1), asks_for_contact=True),
    "overpass": Public(
        "https://overpass-api.de", timedelta(seconds=5), asks_for_contact=True, answers_in=timedelta(seconds=35)
    ),
    "foursquare": Public("https://places-api.foursquare.com", timedelta(seconds=0.2), needs_key=True),
    "google": Public("https://places.googleapis.com", timedelta(seconds=0.2), needs_key=True),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One chosen service. `own_url` is a server of the person's own, or else the public one is asked.

    `apart` is the time between two requests where it is not the public server's own.
    """

    kind: Kind
    name: str
    own_url: str | None = None
    key: str | None = None
    contact: str | None = None
    apart: timedelta | None = None

    @property
    def nobody(self) -> bool:
        """Whether nobody is asked."""
        return self.name == NOBODY[self.kind]

    @property
    def url(self) -> str | None:
        """What is asked; None where nobody is."""
        return None if self.nobody else self.own_url or PUBLIC[self.name].url

    @property
    def host(self) -> str | None:
        """The host that is asked; None where nobody is."""
        return None if self.url is None else urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def public(self) -> bool:
        """Whether the public server of the service is asked."""
        return not self.nobody and self.host == PUBLIC[self.name].host

    @property
    def interval(self) -> timedelta:
        """The time between the beginnings of two requests; at a public server never less than its keepers want."""
        if self.nobody:
            return timedelta(0)
        least = PUBLIC[self.name].interval
        if self.apart is None:
            return least if self.public else timedelta(0)
        return max(self.apart, least) if self.public and not PUBLIC[self.name].needs_key else self.apart

    def check(self) -> None:
        """Raise ChoiceError when the service could not be asked."""
        if self.nobody:
            return
        if PUBLIC[self.name].needs_key and not self.key:
            raise ChoiceError(f"{self.name} needs a key; set LOOM_BUSINESS_FINDER_KEY to yours")
        if self.public and PUBLIC[self.name].asks_for_contact and not self.contact:
            raise ChoiceError(
                f"{self.host} wants to know who asks; set LOOM_LOOKUP_CONTACT to your e-mail address or web page, "
                "which is sent with each request"
            )
