"""The services that the settings choose."""

from datetime import timedelta

from loom_models.services.choice import Choice
from loom_platform.settings import Settings


def chosen(settings: Settings) -> tuple[Choice, Choice]:
    """The geocoder and the business finder."""
    interval = settings.lookup_interval_seconds
    apart = None if interval is None else timedelta(seconds=interval)
    key = settings.business_finder_key
    contact = settings.lookup_contact
    return (
        Choice("address", settings.geocoder, settings.geocoder_url, None, contact, apart),
        Choice(
            "business",
            settings.business_finder,
            settings.business_finder_url,
            None if key is None else key.get_secret_value(),
            contact,
            apart,
        ),
    )
