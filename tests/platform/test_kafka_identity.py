"""Another installation's broker on the port is not taken for one's own."""

from pathlib import Path

import pytest

from loom_platform.embedded.kafka import Kafka, broker_answers

pytestmark = pytest.mark.integration


def test_a_broker_of_another_cluster_does_not_count_as_this_one(bootstrap_servers: str, tmp_path: Path) -> None:
    port = int(bootstrap_servers.rsplit(":", 1)[1])
    mine = Kafka(tmp_path, port, port, tmp_path)
    mine.data.mkdir()
    (mine.data / "meta.properties").write_text("version=1\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\nnode.id=1\n")
    assert broker_answers(bootstrap_servers)
    assert not mine.answers()
