import asyncio

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.transport.http2.talk import (
    HEAD,
    TAIL,
    Raw,
    data,
    frame,
    headers,
    number,
    resets_of,
    setting,
)

from salver.transport.http2.frames import Code
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.outbox import Data


def _body(output: list[tuple[int, int, int, bytes]], stream_id: int = 1) -> bytes:
    return b"".join(p for kind, _, sid, p in output if kind == 0 and sid == stream_id)


def _opened(limits: Http2Limits | None = None, window: int | None = None) -> Raw:
    raw = Raw(limits)
    if window is not None:
        raw.send(setting(4, window))
    raw.send(headers(1, end=True))
    return raw


def test_an_answer_is_head_data_and_trailers() -> None:
    raw = _opened()
    raw.stream().respond(HEAD, b"body", TAIL)
    assert raw.output() == [(1, 4, 1, HEAD), (0, 0, 1, b"body"), (1, 5, 1, TAIL)]
    assert raw.stream().is_gone
    assert raw.wakes == 1
    raw.stream().respond(HEAD, b"again", TAIL)
    assert raw.output() == []


def test_an_answer_without_trailers_ends_with_its_data() -> None:
    raw = _opened()
    raw.stream().respond(HEAD, [b"one", b"", bytearray(b"two")])
    assert raw.output() == [(1, 4, 1, HEAD), (0, 0, 1, b"one"), (0, 1, 1, b"two")]


def test_an_answer_of_nothing_is_its_head() -> None:
    raw = _opened()
    raw.stream().respond(HEAD, b"")
    assert raw.output() == [(1, 5, 1, HEAD)]


def test_an_answer_of_trailers_alone() -> None:
    raw = _opened()
    raw.stream().refuse(HEAD)
    raw.stream().refuse(HEAD)
    assert raw.output() == [(1, 5, 1, HEAD)]


def test_an_empty_body_between_head_and_trailers() -> None:
    raw = _opened()
    raw.stream().respond(HEAD, [], TAIL)
    assert raw.output() == [(1, 4, 1, HEAD), (1, 5, 1, TAIL)]


def test_long_blocks_are_continued() -> None:
    raw = _opened()
    raw.stream().respond(bytes(40_000), b"x", bytes(20_000))
    output = raw.output()
    assert [(kind, flags, len(p)) for kind, flags, _, p in output] == [
        (1, 0, 16_384),
        (9, 0, 16_384),
        (9, 4, 7232),
        (0, 0, 1),
        (1, 1, 16_384),
        (9, 4, 3616),
    ]


def test_streams_an_answer_in_parts() -> None:
    raw = _opened()
    stream = raw.stream()
    stream.send_data(b"too early")
    stream.send_trailers(TAIL)
    stream.send_head(HEAD)
    stream.send_head(HEAD)
    stream.send_data(b"one")
    stream.send_data([b"two", memoryview(b"three")])
    stream.respond(HEAD, b"no", TAIL)
    stream.refuse(HEAD)
    stream.send_trailers(TAIL)
    stream.send_data(b"too late")
    output = raw.output()
    assert [kind for kind, _, _, _ in output] == [1, 0, 0, 0, 1]
    assert _body(output) == b"onetwothree"
    assert output[-1] == (1, 5, 1, TAIL)


def test_ends_a_streamed_answer_without_trailers() -> None:
    raw = _opened()
    raw.stream().send_head(HEAD)
    raw.stream().send_data(b"x")
    raw.stream().send_trailers()
    assert raw.output() == [(1, 4, 1, HEAD), (0, 0, 1, b"x"), (0, 1, 1, b"")]


def test_trailers_wait_for_the_data_before_them() -> None:
    raw = _opened(window=4)
    raw.stream().send_head(HEAD)
    raw.stream().send_data(b"123456")
    raw.stream().send_trailers(TAIL)
    assert _body(raw.output()) == b"1234"
    assert raw.stream().is_waiting
    output = raw.send(frame(8, 0, 1, number(9)))
    assert output == [(0, 0, 1, b"56"), (1, 5, 1, TAIL)]


def test_windows_that_shrink_below_nothing_are_waited_out() -> None:
    raw = _opened(window=10)
    raw.stream().respond(HEAD, bytes(30), TAIL)
    assert len(_body(raw.output())) == 10
    assert _body(raw.send(setting(4, 0))) == b""
    assert raw.stream().send_window == -10
    assert _body(raw.send(frame(8, 0, 1, number(5)))) == b""
    assert len(_body(raw.send(setting(4, 20)))) == 15
    assert len(_body(raw.send(frame(8, 0, 1, number(5))))) == 5
    assert not raw.stream().is_waiting


def test_a_window_change_that_overflows_a_stream_ends_the_connection() -> None:
    raw = _opened()
    raw.send(frame(8, 0, 1, number(2**31 - 1 - 65_535)))
    raw.send(setting(4, 65_536))
    assert raw.session.is_closed


def test_streams_share_the_window_of_the_connection() -> None:
    raw = Raw()
    raw.send(setting(4, 1_000_000), headers(1, end=True), headers(3, end=True))
    raw.stream(1).respond(HEAD, bytes(300_000), TAIL)
    raw.stream(3).respond(HEAD, bytes(300_000), TAIL)
    raw.output()
    output = raw.send(frame(8, 0, 0, number(200_000)))
    assert 60_000 < len(_body(output, 1)) < 140_000
    assert 60_000 < len(_body(output, 3)) < 140_000
    output = raw.send(frame(8, 0, 0, number(1_000_000)))
    assert [sid for kind, flags, sid, _ in output if kind == 1 and flags == 5] in ([1, 3], [3, 1])


def test_a_stream_without_window_does_not_hold_up_another() -> None:
    raw = Raw()
    raw.send(setting(4, 5), headers(1, end=True), headers(3, end=True))
    raw.stream(1).respond(HEAD, bytes(100), TAIL)
    raw.stream(3).respond(HEAD, bytes(100), TAIL)
    raw.output()
    assert len(_body(raw.send(frame(8, 0, 3, number(50))), 3)) == 50


def test_streams_without_window_are_not_looked_at_until_it_grows() -> None:
    raw = Raw()
    raw.send(setting(4, 0), headers(1, end=True), headers(3, end=True))
    for stream_id in (1, 3):
        raw.stream(stream_id).respond(HEAD, bytes(100), TAIL)
    assert not raw.session.out.waiting
    assert len(_body(raw.send(setting(4, 100)), 1)) == 100
    assert not raw.session.streams


def test_frames_are_as_long_as_the_client_takes_them() -> None:
    raw = Raw()
    raw.send(setting(5, 40_000), setting(4, 2**20), frame(8, 0, 0, number(2**20)))
    raw.send(headers(1, end=True))
    raw.stream().respond(HEAD, bytes(100_000), TAIL)
    sizes = [len(p) for kind, _, _, p in raw.output() if kind == 0]
    assert sizes == [40_000, 40_000, 20_000]


def test_says_that_it_uses_no_table_when_the_client_shrinks_its_own() -> None:
    raw = Raw()
    raw.send(setting(1, 8192), headers(1, end=True), headers(3, end=True), headers(5, end=True))
    raw.send(setting(1, 100))
    raw.stream(1).respond(HEAD, b"x", TAIL)
    raw.stream(3).respond(HEAD, b"x", TAIL)
    output = raw.output()
    assert output[0] == (1, 4, 1, b"\x20" + HEAD)
    assert (1, 4, 3, HEAD) in output


def test_a_blocked_socket_keeps_data_here() -> None:
    raw = _opened()
    raw.session.out.block(True)
    raw.stream().send_head(HEAD)
    raw.stream().send_data(b"x")
    assert raw.output() == [(1, 4, 1, HEAD)]
    raw.stream().send_trailers(TAIL)
    raw.session.out.block(False)
    assert raw.output() == [(0, 0, 1, b"x"), (1, 5, 1, TAIL)]


def test_whole_answers_wait_for_a_blocked_socket_too() -> None:
    raw = _opened()
    raw.session.out.block(True)
    raw.stream().respond(HEAD, b"x", TAIL)
    assert _body(raw.output()) == b""
    raw.session.out.block(False)
    assert _body(raw.output()) == b"x"


async def test_waits_until_its_data_is_on_its_way() -> None:
    raw = _opened(window=5)
    stream = raw.stream()
    await stream.drained()
    stream.send_head(HEAD)
    stream.send_data(b"1234567")
    raw.output()
    waits = [asyncio.ensure_future(stream.drained()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(wait.done() for wait in waits)
    waits[0].cancel()
    raw.send(frame(8, 0, 1, number(2)))
    await waits[1]
    assert waits[0].cancelled()


async def test_nobody_waits_for_a_client_that_has_left() -> None:
    raw = _opened(window=5)
    raw.stream().send_head(HEAD)
    raw.stream().send_data(b"1234567")
    wait = asyncio.ensure_future(raw.stream().drained())
    await asyncio.sleep(0)
    raw.send(frame(3, 0, 1, number(8)))
    await wait
    assert raw.ledger.gone == [1]


def test_does_not_pile_up_what_is_not_written() -> None:
    raw = _opened(window=2**30)
    raw.send(frame(8, 0, 0, number(2**30)))
    stream = raw.stream()
    stream.send_head(HEAD)
    for _ in range(50):
        stream.send_data(bytes(60_000))
    assert raw.session.out.unwritten_bytes < 1_000_000
    assert stream.is_waiting
    assert len(_body(raw.output())) == 3_000_000


def test_gives_window_back_when_asked_only() -> None:
    raw = Raw(Http2Limits(stream_window_bytes=100, connection_window_bytes=70_000))
    raw.ledger.set_up = lambda stream: setattr(stream, "auto_credit", False)
    assert raw.send(headers(1), data(1, bytes(100))) == []
    stream = raw.stream()
    stream.credit(40)
    assert raw.output() == []
    stream.credit(500)
    assert raw.output() == [(8, 0, 1, number(100))]
    stream.credit(1)
    assert raw.output() == []
    assert raw.send(data(1, bytes(100), end=True)) == []


def test_resets_a_stream_on_demand() -> None:
    raw = Raw()
    raw.send(headers(1), data(1, b"x"))
    raw.stream().reset(Code.REFUSED_STREAM)
    assert resets_of(raw.output()) == [(1, Code.REFUSED_STREAM)]
    assert raw.ledger.gone == []
    raw.stream().hold()
    raw.stream().let_go()


def test_work_may_go_on_behind_an_answer() -> None:
    raw = _opened()
    raw.stream().hold()
    raw.stream().hold()
    raw.stream().respond(HEAD, b"x", TAIL)
    raw.stream().let_go()
    assert raw.session.is_busy
    raw.stream().let_go()
    assert not raw.session.is_busy


def test_knows_who_asks() -> None:
    assert _opened().stream().peer == "127.0.0.1"


@given(
    st.lists(st.binary(max_size=200), max_size=6),
    st.lists(st.integers(1, 150), max_size=8),
    st.booleans(),
)
def test_whatever_the_windows_all_of_the_answer_arrives_in_order(
    parts: list[bytes], increments: list[int], has_trailers: bool
) -> None:
    raw = _opened(window=7)
    chunks: list[Data] = list(parts)
    raw.stream().respond(HEAD, chunks, TAIL if has_trailers else None)
    output = raw.output()
    for increment in increments:
        output += raw.send(frame(8, 0, 1, number(increment)))
        assert len(_body(output)) <= 7 + sum(increments)
    output += raw.send(frame(8, 0, 1, number(10_000))) if not raw.stream().is_gone else []
    assert _body(output) == b"".join(parts)
    assert raw.stream().is_gone
    assert output[-1][1] & 1
    assert sum(flags & 1 for kind, flags, _, _ in output if kind in (0, 1)) == 1
