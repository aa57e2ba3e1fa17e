"""Where a row came from, and what came of it: the same answer for `loom explain` and for `GET /lineage`."""
