"""Records as bytes, and what is read of bytes that changed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_ingest.producer import Record
from loom_ingest.spool.record import MAGIC, Damage, Spooled, announced_size, encode, scan, size_of

RECORDS = st.builds(
    Record,
    st.text(min_size=1, max_size=20),
    st.binary(max_size=20),
    st.binary(max_size=200).filter(lambda value: MAGIC[-1:] not in value),
    st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=20)), max_size=3),
)


def whole(data: bytes) -> list[Spooled]:
    return [found[0] for found in scan(data) if not isinstance(found, Damage)]


@given(st.lists(RECORDS, min_size=1, max_size=5))
def test_a_record_comes_back_as_it_was(records: list[Record]) -> None:
    spooled = [Spooled(n, 1_700_000_000_000 + n, record) for n, record in enumerate(records, 1)]
    data = b"".join(map(encode, spooled))
    assert whole(data) == spooled
    assert len(data) == sum(map(size_of, records))
    assert announced_size(data) == size_of(records[0])


@given(st.lists(RECORDS, min_size=1, max_size=5), st.data())
def test_a_changed_byte_costs_one_record(records: list[Record], data: st.DataObject) -> None:
    spooled = [Spooled(n, 0, record) for n, record in enumerate(records, 1)]
    pieces = [encode(each) for each in spooled]
    victim = data.draw(st.integers(0, len(pieces) - 1))
    changed = bytearray(pieces[victim])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    pieces[victim] = bytes(changed)
    found = list(scan(b"".join(pieces)))
    assert whole(b"".join(pieces)) == spooled[:victim] + spooled[victim + 1 :]
    assert [f for f in found if isinstance(f, Damage)] == [
        Damage(sum(map(len, pieces[:victim])), sum(map(len, pieces[: victim + 1])))
    ]


@pytest.mark.parametrize("cut", [1, 3, 12, 20, 44])
def test_a_torn_end_is_told(cut: int) -> None:
    data = encode(Spooled(1, 0, Record("t", b"k", b"{}", []))) + encode(Spooled(2, 0, Record("t", b"k", b"{}", [])))
    torn = data[:-cut] if cut < len(data) // 2 else data[: len(data) // 2 + 1]
    *_, last = scan(torn)
    assert last == Damage(len(data) // 2, len(torn))


def test_old_bytes_are_not_read_again() -> None:
    record = Record("t", b"k", b"{}", [])
    assert [s.seq for s in whole(encode(Spooled(5, 0, record)) + encode(Spooled(4, 0, record)))] == [5]
