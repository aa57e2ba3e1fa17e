"""W3C trace context (https://www.w3.org/TR/trace-context/#traceparent-header)."""

import pytest

from loom_ingest.trace import RequestContext

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("header", "inherited"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", True),
        (f"  00-{TRACE}-00f067aa0ba902b7-00 ", True),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-holds", True),
        (f"00-{TRACE}-00f067aa0ba902b7-01-extra", False),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", False),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE}", False),
        ("", False),
    ],
)
def test_a_valid_trace_is_inherited_and_any_other_replaced(header: str, inherited: bool) -> None:
    context = RequestContext([(b"traceparent", header.encode())])
    assert context.inherited is inherited
    assert (context.trace_id == TRACE) is inherited
    assert len(context.trace_id) == 32
    assert context.traceparent.startswith(b"00-")


@pytest.mark.parametrize("header", [b"", b"a" * 65, b"two words", b"new\nline", b'"quoted"'])
def test_an_unusable_request_id_is_replaced(header: bytes) -> None:
    assert len(RequestContext([(b"x-request-id", header)]).request_id) == 36
