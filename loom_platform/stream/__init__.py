"""The stream engine: topics to tables, each record once. It imports no dagster; `api` is its face."""
