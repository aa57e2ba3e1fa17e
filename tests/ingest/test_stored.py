"""What the API accepts is stored: the example of every endpoint, through the real broker, into its table."""

import base64
import json
import threading
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from loom_contracts.topic import Topic
from loom_contracts.topics.device import AUDIO_RAW
from loom_models.flows import LANDING_STAGES
from loom_platform.blobs import open_blobs
from loom_platform.stream.api import StreamConfig, run_stream
from loom_platform.topics import create_topics
from tests.ingest.server import live_server
from tests.ingest.test_rest_endpoints import ENDPOINTS, example

pytestmark = pytest.mark.integration

SENT: dict[str, Topic] = {**ENDPOINTS, "/audio/upload": AUDIO_RAW}


def test_every_endpoint_fills_its_table(bootstrap_servers: str, database_url: str, tmp_path: Path) -> None:
    prefix = f"e{uuid.uuid4().hex[:10]}"
    stages = [s for s in LANDING_STAGES if s.source in SENT.values()]
    create_topics(bootstrap_servers, prefix=prefix, topics=[s.source for s in stages], partitions=1)
    blobs = open_blobs(str(tmp_path / "blobs"), database_url)
    sent: dict[str, tuple[str, dict[str, Any]]] = {}
    with live_server(bootstrap_servers, kafka_topic_prefix=prefix, database_url=database_url) as server:
        for path, topic in SENT.items():
            body = example(topic)
            for _ in range(2):
                headers = {"Idempotency-Key": path}
                response = httpx.post(f"{server.url}{path}", json=body, headers=headers, timeout=20)
                assert response.status_code == 201, response.text
            sent[path] = (response.json()["message_id"], body)
    config = StreamConfig(
        database_url=database_url,
        bootstrap_servers=bootstrap_servers,
        topic_prefix=prefix,
        idle_timeout=timedelta(seconds=2),
        blobs=blobs,
    )
    summaries = run_stream(stages, config, on_report=lambda _: None, stop=threading.Event())
    assert sum(s.dead_letters for s in summaries) == 0
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        for path, (message_id, body) in sent.items():
            table = SENT[path].table
            rows = connection.execute(
                f"SELECT * FROM {table.name} WHERE message_id = %s".encode(), (message_id,)
            ).fetchall()
            assert len(rows) == 1, path
            plain = {k: v for k, v in body.items() if k in rows[0] and not isinstance(v, dict | list)}
            kept = SENT[path].payload.model_validate_json(json.dumps(body)).model_dump(include=set(plain))
            assert {k: rows[0][k] for k in plain} == kept, path
            if table.body is not None:
                name = table.body.name
                content = base64.b64decode(body[{"audio": "chunk_data"}.get(name, f"{name}_data")])
                assert blobs.get(rows[0][f"{name}_ref"]) == content
        devices = connection.execute(b"SELECT device_id FROM devices").fetchall()
    assert {d["device_id"] for d in devices} == {body["device_id"] for _, body in sent.values()}
