"""`traceparent`, read by W3C's rules: a client's trace goes on, and what is no trace begins one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundament.gateway.trace import continued

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def of(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *((b"traceparent", value) for value in values)]


def test_a_clients_trace_goes_on_with_a_span_of_our_own() -> None:
    trace = continued(of(f"00-{TRACE}-{SPAN}-01".encode()))
    assert (trace.trace_id, trace.parent_id, trace.sampled) == (TRACE, SPAN, True)
    assert re.fullmatch("[0-9a-f]{16}", trace.span_id)
    assert trace.span_id != SPAN
    assert trace.traceparent == f"00-{TRACE}-{trace.span_id}-01"


def test_a_client_that_does_not_sample_is_not_sampled_here() -> None:
    trace = continued(of(f"00-{TRACE}-{SPAN}-00".encode()))
    assert not trace.sampled
    assert trace.traceparent.endswith("-00")


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert continued(of(f"cc-{TRACE}-{SPAN}-01-what-comes-later".encode())).trace_id == TRACE


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-01-more".encode(),
        f"00-{TRACE.upper()}-{SPAN}-01".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE}-{SPAN}".encode(),
    ],
)
def test_what_is_no_trace_begins_one(value: bytes) -> None:
    trace = continued(of(value))
    assert trace.trace_id not in {TRACE, "0" * 32}
    assert (trace.parent_id, trace.sampled) == (None, True)


def test_two_headers_name_no_trace() -> None:
    value = f"00-{TRACE}-{SPAN}-01".encode()
    assert continued(of(value, value)).trace_id != TRACE


@given(st.binary(max_size=80))
def test_whatever_a_client_sends_what_is_passed_on_is_well_formed(value: bytes) -> None:
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", continued(of(value)).traceparent)


def test_no_two_requests_are_one_span() -> None:
    assert len({continued([]).traceparent for _ in range(1000)}) == 1000
