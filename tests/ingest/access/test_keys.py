"""The form of a key, the places where it may be, and what is said of one that does not count."""

import base64
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loom_ingest.access.credentials import key_in_headers, key_in_query, not_known
from loom_ingest.access.keys import ID, KEY_LENGTH, checksum, digest, make_key, well_formed

BODY = "loom_abcdefg234_" + "0Aa" * 10 + "Zz"
# The same in every process of the suite, which must find the same tests.
KEY = BODY + checksum(BODY.encode())
LETTERS = string.ascii_letters + string.digits


def test_a_key_has_its_form() -> None:
    assert well_formed(KEY.encode())
    keys = [make_key() for _ in range(200)]
    for key in keys:
        assert key.text.startswith(f"loom_{key.key_id}_")
        assert len(key.text) == KEY_LENGTH
        assert key.text.encode()[ID] == key.key_id.encode()
        assert key.sha256 == digest(key.text.encode())
        assert key.sha256.hex() not in key.text
        assert well_formed(key.text.encode())
    assert len({key.text for key in keys}) == len({key.key_id for key in keys}) == 200
    # 32 characters of 62 are 190 bits; no place of the secret is always the same.
    for place in range(16, 48):
        assert len({key.text[place] for key in keys}) > 20


@given(st.integers(0, KEY_LENGTH - 1), st.sampled_from(LETTERS + "_- "))
def test_one_wrong_character_is_noticed(place: int, character: str) -> None:
    mistyped = KEY[:place] + character + KEY[place + 1 :]
    assert well_formed(mistyped.encode()) == (mistyped == KEY)


@given(st.integers(5, KEY_LENGTH - 2))
def test_two_characters_in_the_wrong_order_are_noticed(place: int) -> None:
    swapped = KEY[:place] + KEY[place + 1] + KEY[place] + KEY[place + 2 :]
    assert well_formed(swapped.encode()) == (swapped == KEY)


@given(st.integers(0, KEY_LENGTH - 1))
def test_a_key_that_is_cut_short_is_noticed(length: int) -> None:
    assert not well_formed(KEY[:length].encode())


@given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode()))
def test_anything_at_all_is_no_key(value: bytes) -> None:
    assert not well_formed(value)
    error = not_known(value)
    assert (error.status, error.details) == (401, {"reason": "malformed"})
    assert KEY not in error.message


@given(st.binary(max_size=200))
def test_any_header_can_be_read(value: bytes) -> None:
    key_in_headers([(b"authorization", value)])
    key_in_headers([(b"authorization", b"Basic " + value)])
    key_in_query(b"token=" + value)


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([(b"host", b"x")], None),
        ([(b"authorization", f"Bearer {KEY}".encode())], KEY),
        ([(b"authorization", f"bearer   {KEY} ".encode())], KEY),
        ([(b"x-api-key", KEY.encode())], KEY),
        ([(b"authorization", basic("anyone", KEY))], KEY),
        ([(b"authorization", basic("", KEY))], KEY),
        ([(b"authorization", basic("a", f"{KEY}:b"))], f"{KEY}:b"),
        ([(b"authorization", b"Basic !!")], ""),
        ([(b"authorization", b"Digest username=x")], None),
        # A proxy may need the Authorization for itself.
        ([(b"authorization", basic("proxy", "secret")), (b"x-api-key", KEY.encode())], KEY),
        ([(b"x-api-key", KEY.encode()), (b"authorization", basic("proxy", "secret"))], KEY),
    ],
)
def test_where_a_key_may_be(headers: list[tuple[bytes, bytes]], found: str | None) -> None:
    assert key_in_headers(headers) == (None if found is None else found.encode())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", None),
        ("mytoken=x", None),
        (f"token={KEY}", KEY),
        (f"u=a&d=b&token={KEY}", KEY),
        ("token=", ""),
        ("token=a%20b", "a b"),
    ],
)
def test_where_a_token_may_be(query: str, found: str | None) -> None:
    assert key_in_query(query.encode()) == (None if found is None else found.encode())
