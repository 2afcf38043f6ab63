import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.tracing.parent import Parent, parent_of, traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KNOWN = Parent(int(TRACE, 16), int(SPAN, 16), is_sampled=True)


@pytest.mark.parametrize(
    ("value", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # further flags
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"cc-{TRACE}-{SPAN}-01", True),  # a later version, with and without more
        (f"cc-{TRACE}-{SPAN}-01-what-it-may-be", True),
    ],
)
def test_a_parent_is_read(value: str, is_sampled: bool) -> None:
    assert parent_of(value.encode()) == Parent(KNOWN.trace_id, KNOWN.span_id, is_sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-01-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_not_well_formed_counts_for_nothing(value: str) -> None:
    assert parent_of(value.encode()) is None


@given(st.binary(max_size=80))
def test_no_bytes_are_too_strange_to_be_read(value: bytes) -> None:
    parent_of(value)


@given(
    st.integers(1, 2**128 - 1),
    st.integers(1, 2**64 - 1),
    st.booleans(),
)
def test_what_is_written_is_read_again(trace_id: int, span_id: int, is_sampled: bool) -> None:
    written = traceparent(trace_id, span_id, is_sampled=is_sampled)
    assert parent_of(written.encode()) == Parent(trace_id, span_id, is_sampled)
