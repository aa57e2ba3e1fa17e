"""However the records are split into runs and batches, and however often they are repeated: one table comes out."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loom_models.stage import BatchPolicy
from tests.stream.bench import Bench
from tests.stream.conftest import empty
from tests.stream.stages import LANDING, NUMBERS, Number, number, running_total, twice

pytestmark = pytest.mark.integration

_POOL = [
    number(second, n, device, message_id=UUID(int=k, version=4))
    for k, (second, n, device) in enumerate(
        (s, k * k - 300, d) for k, (s, d) in enumerate((s % 17, f"phone-{s % 3}") for s in range(40))
    )
]


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    pieces=st.lists(st.lists(st.sampled_from(range(len(_POOL))), min_size=1, max_size=30), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 40), min_size=4, max_size=4),
    poison=st.sets(st.integers(0, 119), max_size=4),
    together=st.booleans(),
)
def test_any_split_and_any_repetition_give_the_same_table(
    bench: Bench, pieces: list[list[int]], sizes: list[int], poison: set[int], together: bool
) -> None:
    bench = replace(bench, config=replace(bench.config, topic_prefix=f"{bench.config.topic_prefix}.{uuid4().hex[:6]}"))
    empty(bench.owner_url)
    bench.prepare(LANDING, twice(), running_total(), partitions=2)
    sent = 0
    for piece, size in zip(pieces, sizes, strict=False):
        policy = BatchPolicy(max_rows=size, max_wait=timedelta(milliseconds=5))
        for index in piece:
            bench.send(NUMBERS, *([b"poison"] if sent in poison else []), _POOL[index])
            sent += 1
        landing, derived = replace(LANDING, policy=policy), (twice(policy=policy), running_total(policy=policy))
        if together:
            bench.drain(landing, *derived)
        else:
            bench.drain(landing)
            bench.drain(*derived, landing=[LANDING])

    unique = {index: _POOL[index] for piece in pieces for index in piece}.values()
    assert Counter(bench.rows("SELECT message_id, n FROM test_number_raw")) == Counter(
        (u.message_id, u.n) for u in unique
    )
    current = "SELECT source_message_id, value FROM test_number_answered WHERE superseded_at IS NULL AND stage = %s"
    assert Counter(bench.rows(current, "twice")) == Counter((u.message_id, 2 * u.n) for u in unique)
    assert Counter(bench.rows(current, "total")) == Counter(totals(list(unique)))
    letters = bench.rows("SELECT stage, count(*)::int FROM processing_errors GROUP BY 1")
    count = sum(1 for p in poison if p < sent)
    assert dict(letters) == ({LANDING.name: count, "twice": count, "total": count} if count else {})


def totals(numbers: list[Number]) -> Iterator[tuple[UUID, int]]:
    sums: Counter[str] = Counter()
    for one in sorted(numbers, key=lambda n: (n.timestamp, str(n.message_id))):
        sums[one.device_id] += one.n
        yield one.message_id, sums[one.device_id]
