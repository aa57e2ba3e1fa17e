"""Landing: every raw record into its topic's table as it came; a large body goes to object storage first."""

import base64
import binascii
from datetime import timedelta
from typing import Final

import polars as pl

from loom_contracts.message import StoredBody
from loom_contracts.topic import Topic
from loom_contracts.topics.device import ACCELEROMETER_RAW
from loom_contracts.topics.os_events import APP_LIFECYCLE_RAW
from loom_models.errors import DependencyError
from loom_models.stage import BatchPolicy, Body, Context, Output, Stage, Transform

VERSION = "1"
ROW_POLICY = BatchPolicy(max_rows=25_000)
"""In a backlog, 25,000 rows to a batch are stored a fifth faster than 10,000, and no slower than 50,000."""

STEADY_POLICY = BatchPolicy(max_rows=25_000, max_wait=timedelta(milliseconds=200))
"""Of what comes many times a second: nobody waits for one of many, and small batches cost the most of a live day."""

BODY_POLICY = BatchPolicy(max_rows=500, max_bytes=32 * 1024 * 1024)
"""Bodies are large: fewer to a batch, so that memory stays bounded."""

_STEADY: Final = frozenset({ACCELEROMETER_RAW, APP_LIFECYCLE_RAW})


def landing_stage(topic: Topic) -> Stage:
    """The stage that stores the records of `topic`; its name is `landing-` and the topic's, dots as dashes."""
    body = topic.table.body
    return Stage(
        name=f"landing-{topic.name.replace('.', '-')}",
        source=topic,
        sinks=(topic,),
        version=VERSION,
        transform=_rows_only(topic) if body is None else _with_bodies(topic, body),
        description=f"Stores {topic.name} as it came.",
        policy=BODY_POLICY if body is not None else STEADY_POLICY if topic in _STEADY else ROW_POLICY,
    )


def _columns(topic: Topic) -> list[str]:
    return [c.name for c in topic.table.columns if c.name != "stored_at"]


def _rows_only(topic: Topic) -> Transform:
    columns = _columns(topic)

    def land(batch: pl.DataFrame, context: Context, /) -> Output:  # noqa: ARG001
        return Output({topic: batch.select(columns)})

    return land


def _with_bodies(topic: Topic, body: StoredBody) -> Transform:
    columns = _columns(topic)
    field = next(n for n, f in topic.payload.model_fields.items() if body in f.metadata)
    kind = body.name

    def land(batch: pl.DataFrame, context: Context, /) -> Output:
        """Store each body, then give the rows with `<name>_ref`, `<name>_sha256`, `<name>_size_bytes` in its place.

        A body that is not base64, or is empty, is poison. Raises DependencyError when there is no object store.
        """
        if context.blobs is None:
            raise DependencyError(f"{topic.name} needs object storage: give the stream run a BlobStore")
        suffixes = batch["format"] if "format" in batch.columns else pl.Series(["bin"] * batch.height, dtype=pl.String)
        bodies: list[Body] = []
        good: list[bool] = []
        poison: dict[str, str] = {}
        sent = zip(batch["message_id"], batch["device_id"], batch[field], suffixes, strict=True)
        for message_id, device_id, text, suffix in sent:
            try:
                bodies.append(Body(_decoded(text), device_id, kind, f".{suffix}"))
                good.append(True)
            except (binascii.Error, ValueError) as error:
                poison[message_id] = f"{field}: {error}; send the body in base64"
                good.append(False)
        refs = context.blobs.put_all(bodies) if bodies else []
        rows = (
            batch.drop(field)
            .filter(pl.Series(good, dtype=pl.Boolean))
            .with_columns(
                pl.Series(f"{kind}_ref", [r.ref for r in refs], dtype=pl.String),
                pl.Series(f"{kind}_sha256", [r.sha256 for r in refs], dtype=pl.String),
                pl.Series(f"{kind}_size_bytes", [r.size_bytes for r in refs], dtype=pl.Int64),
            )
        )
        return Output({topic: rows.select(columns)}, poison=poison)

    return land


def _decoded(text: str) -> bytes:
    content = base64.b64decode(text, validate=True)
    if not content:
        raise ValueError("the body is empty")
    return content
