"""The ingest service: devices send over HTTP, and a 201 means that the broker, or the disk spool, has it.

FastAPI and aiokafka; imports loom_contracts and nothing else of Loom. `python -m loom_ingest` runs it.
"""

from typing import Final

SERVICE: Final = "loom-ingestion-api"
VERSION: Final = "0.1.0"
