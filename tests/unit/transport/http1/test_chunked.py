import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.transport.heads import Refusal
from salver.transport.http1.chunked import ChunkedBody

SEVERAL = b'4;name="v"\r\nWiki\r\n5 \r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nA: b\r\nB:\r\n\r\n'
BODY = b"Wikipedia in\r\n\r\nchunks."


def body(max_body_bytes: int = 1000, max_overhead_bytes: int = 100) -> ChunkedBody:
    return ChunkedBody(max_body_bytes, max_overhead_bytes)


def fed(data: bytes, step: int) -> tuple[bytes, bytes | None]:
    """Body and rest, with `data` fed in steps."""
    chunks = body()
    rest = None
    for start in range(0, len(data), step):
        rest = chunks.feed(data[start : start + step])
        if rest is not None:
            rest += data[start + step :]
            break
    return b"".join(chunks.pieces), rest


@pytest.mark.parametrize("step", range(1, len(SEVERAL) + 5))
def test_a_body_is_the_same_in_pieces_of_any_size(step: int) -> None:
    assert fed(SEVERAL + b"GET", step) == (BODY, b"GET")


def test_an_unfinished_body_waits() -> None:
    assert fed(SEVERAL[:-1], 1000) == (BODY, None)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b"1_0\r\n",
        b" 1\r\n",
        b"1 1\r\n",
        b"1\n\r\n",
        b"1;\n\r\n",
        b"1;\0\r\n",
        b"11111111111111111\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n0\r\n",
        b"1\r\naXX",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nA: \0\r\n\r\n",
        b"0\r\n: b\r\n\r\n",
    ],
)
@pytest.mark.parametrize("step", [1, 2, 100])
def test_what_is_no_chunked_body_is_refused(data: bytes, step: int) -> None:
    with pytest.raises(Refusal) as raised:
        fed(data, step)
    assert (raised.value.status, raised.value.message) == (
        400,
        "Bad Request: malformed chunked body",
    )


def test_a_body_may_be_as_large_as_the_limit() -> None:
    assert body(4).feed(b"4\r\nabcd\r\n0\r\n\r\n") == b""


@pytest.mark.parametrize("data", [b"5\r\n", b"4\r\nabcd\r\n1\r\n", b"ffffffffffffffff\r\n"])
def test_a_larger_body_is_refused_as_soon_as_it_is_announced(data: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        body(4).feed(data)
    assert raised.value.status == 413


@pytest.mark.parametrize(
    "data",
    [
        b"1;" + b"e" * 200,
        b"1;" + b"e" * 200 + b"\r\n",
        b"1;eeeeeeeee\r\na\r\n" * 20,
        b"0\r\n" + b"A: b\r\n" * 20,
    ],
)
def test_extensions_and_trailers_are_limited(data: bytes) -> None:
    with pytest.raises(Refusal) as raised:
        body().feed(data)
    assert raised.value.message == "Bad Request: chunk extensions or trailers are too large"


@given(st.binary(max_size=60), st.integers(1, 60))
def test_garbage_is_refused_or_waited_for(data: bytes, step: int) -> None:
    status = 200
    try:
        fed(b"2\r\nab\r\n" + data, step)
    except Refusal as refused:
        status = refused.status
    assert status in (200, 400, 413)


@given(st.lists(st.binary(min_size=1, max_size=20)), st.binary(max_size=9), st.integers(1, 60))
def test_what_was_cut_into_chunks_comes_back(parts: list[bytes], rest: bytes, step: int) -> None:
    sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    assert fed(sent + rest, step) == (b"".join(parts), rest)
