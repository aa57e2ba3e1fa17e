"""The service that a person has chosen, ready to be asked."""

from loom_models.services import foursquare, google
from loom_models.services.base import Service
from loom_models.services.choice import PUBLIC, Choice
from loom_models.services.client import Client
from loom_models.services.foursquare import Foursquare
from loom_models.services.google import Google
from loom_models.services.nominatim import Nominatim
from loom_models.services.overpass import Overpass
from loom_models.services.photon import Photon


def service_of(choice: Choice) -> Service | None:
    """The service of `choice`; None where nobody is asked. Raises ChoiceError when it could not be asked."""
    choice.check()
    if choice.url is None:
        return None
    key, headers = choice.key or "", {}
    if choice.name == "foursquare":
        headers = foursquare.headers(key)
    elif choice.name == "google":
        headers = google.headers(key)
    seconds = PUBLIC[choice.name].answers_in.total_seconds()
    client = Client(choice.url, contact=choice.contact or "", headers=headers, total_seconds=seconds)
    interval = choice.interval
    match choice.name:
        case "nominatim":
            return Nominatim(client, interval)
        case "photon":
            return Photon(client, interval)
        case "overpass":
            return Overpass(client, interval)
        case "foursquare":
            return Foursquare(client, interval)
        case _:
            return Google(client, interval)
