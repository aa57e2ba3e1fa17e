"""Which tables can hold something of a device, and what becomes of each. A test holds this against the live schema."""

from typing import Final

from loom_contracts.topics.registry import DERIVED, LANDED
from loom_platform.days.catalogue import DATASETS
from loom_platform.erasure.others import OTHERS

TREATED: Final[frozenset[str]] = frozenset(
    {
        *(topic.table.name for topic in (*LANDED, *DERIVED)),
        *(other.table for other in OTHERS),
        "processing_errors",
        "places_visited",
        *(dataset.table for dataset in DATASETS),
        "stream_state",
        "stream_timers",
        "recompute_progress",
        "recompute_confirmed",
        "device_keys",
        "stage_pauses",
        "rollup_marks",
    }
)
"""Tables whose rows an erasure deletes, changes or computes again. What is kept of roll-ups is not named: by table."""

LEFT: Final[dict[str, str]] = {
    "erasures": "the ledger: without the scope nothing could be erased again after a restore",
    "erasure_work": "what an erasure has still to do; empty when it is done",
    "audit_log": "a chain that nothing can be taken out of: what was done to devices and keys, never what they sent",
    "api_keys": "what the person gave out; `loom keys revoke` ends one",
    "georegions": "places that the person saved",
    "person_time_zones": "in which time zone the person says they were, by days",
    "own_places": "places that the person named",
    "app_categories": "what applications are to the person",
    "network_categories": "what networks are to the person",
    "lookup_services": "which services are asked",
    "stream_offsets": "offsets, of all devices together",
    "stream_leases": "which run holds a stage",
    "stream_metrics": "how much was processed, of all devices together",
    "stage_versions": "what ran, not on what",
    "stage_promotions": "what is shown",
    "stage_promotion_log": "what was shown",
    "retention_defaults": "how long things are kept",
    "retention_rules": "how long the person wants things to be kept",
    "retention_drops": "which days were dropped, with how many rows of all devices together",
    "timeseries_tables": "how the database keeps its tables",
    "rollup_tables": "which tables have roll-ups",
    "migration_checksums": "how the database came to its schema",
}
"""Tables that an erasure leaves as they are, each with its reason."""
