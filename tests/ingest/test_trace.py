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


@pytest.mark.parametrize(
    ("headers", "passed"),
    [
        (["vendor=one"], "vendor=one"),
        (["b=2 , a@t=1", "c=3"], "b=2,a@t=1,c=3"),
        (["a=1,,b=2"], "a=1,b=2"),
        (["a=with space"], "a=with space"),
        (["UPPER=1"], ""),
        (["a"], ""),
        (["a=\x00"], ""),
        (["a=1,b=\xe9"], ""),
        ([",".join(f"k{n}=v" for n in range(40))], ",".join(f"k{n}=v" for n in range(32))),
        ([",".join(f"k{n}={'v' * 95}" for n in range(10))], ",".join(f"k{n}={'v' * 95}" for n in range(5))),
    ],
)
def test_the_callers_tracestate_is_passed_on(headers: list[str], passed: str) -> None:
    pairs = [(b"tracestate", header.encode("latin-1")) for header in headers]
    parent = (b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-01".encode())
    assert RequestContext([parent, *pairs]).tracestate.decode() == passed
    assert RequestContext([*pairs, parent]).tracestate.decode() == passed
    # Without a trace it says nothing.
    assert RequestContext(pairs).tracestate == b""


@pytest.mark.parametrize(("given", "passed"), [("00", "00"), ("01", "01"), ("03", "03"), ("ff", "03"), ("08", "00")])
def test_the_callers_sampling_is_kept_and_unknown_flags_are_not(given: str, passed: str) -> None:
    context = RequestContext([(b"traceparent", f"00-{TRACE}-00f067aa0ba902b7-{given}".encode())])
    assert (context.flags, context.parent_id) == (passed, "00f067aa0ba902b7")
    assert context.sampled is bool(int(passed, 16) & 1)
    assert context.span_id != context.parent_id
