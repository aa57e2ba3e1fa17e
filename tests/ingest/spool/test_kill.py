"""kill -9 at every point between a request and the broker: what was told to a client is stored, in order, and once."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.ingest.spool.process import CLIENTS, EACH, run

# The broker has the batch and the spool has not noted it: that batch goes there again, with the same message ids.
REPEATING = {"half delivered", "before acknowledgement", "before position", "half a position"}
POINTS = [
    ("created", 0),
    ("created", 2),
    ("before write", 5),
    ("half written", 5),
    ("half written", 20),
    ("before sync", 5),
    ("after sync", 5),
    ("after sync", 20),
    ("before delivery", 2),
    ("half delivered", 1),
    ("before acknowledgement", 2),
    # The first position is written when the file is made.
    ("before position", 1),
    ("half a position", 2),
    ("after position", 2),
    ("before remove", 0),
    ("after remove", 1),
]


@pytest.mark.fault
@pytest.mark.parametrize(("point", "passes"), POINTS)
def test_killed(tmp_path: Path, point: str, passes: int) -> None:
    order = {"root": str(tmp_path), "point": point, "passes": passes, "first": 0}
    killed = subprocess.run(
        [sys.executable, "-m", "tests.ingest.spool.process", json.dumps(order)],
        capture_output=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    told_before = (tmp_path / "told").read_text().splitlines()
    asyncio.run(run(tmp_path, None, 0, 2 * EACH))

    told = (tmp_path / "told").read_text().splitlines()
    stored = [line.strip() for line in (tmp_path / "broker").read_text().splitlines()]
    assert len(told) == len(told_before) + CLIENTS * 2 * EACH
    assert set(told) <= set(stored)
    repeated = sum(count - 1 for count in Counter(stored).values())
    assert repeated == 0 or point in REPEATING
    once = list(dict.fromkeys(stored))
    for name in range(CLIENTS):
        numbers = [int(line.split()[1]) for line in once if line.startswith(f"{name} ")]
        assert numbers == sorted(numbers)
    # Not told and stored: at most what each client was waiting for.
    assert len(set(stored) - set(told)) <= CLIENTS
