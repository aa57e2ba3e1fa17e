"""A stream run in a process of its own, which stops or kills itself at a named point: `python -m tests.stream.process`.

Its only argument is JSON: `config` (of StreamConfig), `stages` (names of STAGES), `at` (point, how many times it is
passed before), `signal`. SIGTERM ends the run between two batches. It prints its summaries as JSON. With `day` it
computes that UTC day of the stages again instead.
"""

import json
import os
import signal
import sys
import threading
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import Any

from loom_models.stage import BatchPolicy, Stage
from loom_platform.stream.api import StreamConfig, recompute, run_stream
from tests.stream.stages import LANDING, counting, running_total, twice

# One record in eleven is poison on purpose: a stage with such a source says that this is normal.
POLICY = BatchPolicy(max_rows=30, max_wait=timedelta(milliseconds=10), error_threshold=0.5)
STAGES: dict[str, Stage] = {
    LANDING.name: replace(LANDING, policy=replace(LANDING.policy, error_threshold=0.5)),
    "twice": twice(policy=POLICY),
    "total": running_total(policy=POLICY),
    "count": counting(policy=POLICY),
}


def main(order: dict[str, Any]) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    passed = 0
    lock = threading.Lock()

    def on_point(point: str) -> None:
        nonlocal passed
        if order.get("at") is None or point != order["at"][0]:
            return
        with lock:
            passed += 1
            if passed == order["at"][1] + 1:
                os.kill(os.getpid(), order["signal"])

    config = StreamConfig(
        **order["config"],
        idle_timeout=timedelta(seconds=60),
        lease_duration=timedelta(seconds=order.get("lease_seconds", 10)),
        on_point=on_point,
    )
    stages = [STAGES[name] for name in order["stages"]]
    if "day" in order:
        day = date.fromisoformat(order["day"])
        for each in stages:
            recompute(each, day, day, config, on_report=lambda _: None, stop=stop)
        return
    summaries = run_stream(stages, config, on_report=lambda _: None, stop=stop, landing_stages=[LANDING])
    sys.stdout.write(json.dumps([asdict(s) for s in summaries]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
