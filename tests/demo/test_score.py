"""The measure itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.demo.score import Score, Stretch, overlap, score


def test_a_stretch_agrees_with_one_that_it_mostly_overlaps() -> None:
    true = [Stretch(0, 100, "a"), Stretch(100, 200, "b"), Stretch(300, 400, "a")]
    found = [Stretch(5, 100, "a"), Stretch(100, 200, "a"), Stretch(300, 330, "a"), Stretch(330, 400, "a")]
    result = score(true, found)
    assert (result.true, result.found, result.agreed) == (3, 4, 2)
    assert result.missed == (true[1],)
    assert result.wrong == (found[1], found[2])
    assert result.f1 == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))
    assert overlap(Stretch(0, 10), Stretch(5, 15)) == pytest.approx(1 / 3)


def test_nothing_is_as_good_as_its_truth() -> None:
    assert score([], []).f1 == 1.0
    assert score([Stretch(0, 1)], []).f1 == 0.0
    assert score([], [Stretch(0, 1)]).f1 == 0.0
    assert (Score(3, 3, 3) + Score(1, 3, 1)).f1 == pytest.approx(0.8)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(0, 19))
def test_itself_agrees_and_less_of_it_agrees_less(lengths: list[int], gone: int) -> None:
    true, at = [], 0.0
    for length in lengths:
        true.append(Stretch(at, at + length))
        at += length
    assert score(true, true).f1 == 1.0
    fewer = [s for n, s in enumerate(true) if n != gone % len(true)]
    result = score(true, fewer)
    assert result.agreed == len(true) - 1
    assert score(true, [*fewer, Stretch(at + 10, at + 20)]).f1 < 1.0
