import h2.events
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.transport.http2.talk import (
    GOOD,
    HEAD,
    REQUEST,
    TAIL,
    Ledger,
    Raw,
    Talk,
    block,
    data,
    dynamic_blocks,
    echo,
    frame,
    frames,
    goaway_of,
    headers,
    number,
    request_with,
    resets_of,
    setting,
)

from salver.transport.http2.frames import PREFACE, Code
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.stream import Stream


def test_answers_a_unary_request_of_another_implementation() -> None:
    talk = Talk()
    talk.client.send_headers(1, REQUEST)
    talk.client.send_data(1, b"hello", end_stream=True)
    talk.exchange()
    (response,) = talk.of(h2.events.ResponseReceived)
    (trailers,) = talk.of(h2.events.TrailersReceived)
    (part,) = talk.of(h2.events.DataReceived)
    assert isinstance(response, h2.events.ResponseReceived)
    assert isinstance(trailers, h2.events.TrailersReceived)
    assert isinstance(part, h2.events.DataReceived)
    assert dict(response.headers) == {b":status": b"200", b"content-type": b"application/grpc"}
    assert part.data == b"hello"
    assert dict(trailers.headers) == {b"grpc-status": b"0"}
    assert len(talk.of(h2.events.StreamEnded)) == 1
    assert not talk.session.is_busy


def test_answers_many_requests_whose_blocks_change_the_dynamic_table() -> None:
    talk = Talk()
    for turn in range(40):
        stream_id = talk.client.get_next_available_stream_id()
        talk.client.send_headers(stream_id, [*REQUEST, ("x-turn", str(turn // 3))])
        talk.client.send_data(stream_id, b"%d" % turn, end_stream=True)
        talk.exchange()
    answers = [e.data for e in talk.of(h2.events.DataReceived)]  # type: ignore[attr-defined]
    assert answers == [b"%d" % turn for turn in range(40)]
    turns = [s.headers.get(b"x-turn") for s in talk.ledger.opened_streams]
    assert turns == [b"%d" % (turn // 3) for turn in range(40)]


def test_hands_out_the_same_headers_for_the_same_block() -> None:
    raw = Raw(answer=echo)
    raw.send(headers(1, end=True), headers(3, end=True))
    assert raw.stream(1).headers is raw.stream(3).headers


def test_carries_large_bodies_both_ways_through_small_windows() -> None:
    talk = Talk(Http2Limits(stream_window_bytes=20_000, connection_window_bytes=70_000))
    body = bytes(range(256)) * 1200
    talk.client.send_headers(1, REQUEST)
    sent = 0
    while sent < len(body):
        room = min(talk.client.local_flow_control_window(1), 16_384, len(body) - sent)
        assert room > 0
        talk.client.send_data(1, body[sent : sent + room], end_stream=sent + room == len(body))
        sent += room
        talk.exchange()
    assert talk.ledger.body(1) == body
    received = b""
    for _ in range(100):
        parts = talk.of(h2.events.DataReceived)
        talk.events.clear()
        for part in parts:
            assert isinstance(part, h2.events.DataReceived)
            received += part.data or b""
            talk.client.acknowledge_received_data(part.flow_controlled_length or 0, 1)
        talk.exchange()
        if len(received) == len(body):
            break
    assert received == body
    assert not talk.session.is_busy


def test_hands_over_request_trailers() -> None:
    raw = Raw(answer=echo)
    output = raw.send(headers(1), data(1, b"ab"), headers(1, block([("x-sum", "7")]), end=True))
    stream = raw.stream()
    assert stream.trailers is not None
    assert stream.trailers.pairs == [(b"x-sum", b"7")]
    assert raw.ledger.body(1) == b"ab"
    assert [kind for kind, _, _, _ in output] == [1, 0, 1]


def test_joins_a_block_that_comes_in_parts_with_padding_and_priority() -> None:
    raw = Raw(answer=echo)
    first = b"\x02" + number(0x8000_0003) + b"\x10" + GOOD[:5] + b"\x00\x00"
    raw.send(frame(1, 0x29, 1, first), frame(9, 0, 1, GOOD[5:9]), frame(9, 4, 1, GOOD[9:]))
    assert raw.stream().headers.path == b"/a/b"
    assert raw.ledger.complete == [1]


def test_reads_padded_data_and_gives_the_padding_back() -> None:
    raw = Raw(Http2Limits(stream_window_bytes=1000), answer=echo)
    output = raw.send(headers(1), *(frame(0, 8, 1, b"\xc8" + b"x" * 2 + bytes(200)) for _ in "123"))
    assert raw.ledger.body(1) == b"xxxxxx"
    assert [(kind, sid) for kind, _, sid, _ in output] == [(8, 1)]
    raw.send(frame(0, 9, 1, b"\x03" + b"y" + bytes(3)))
    assert raw.ledger.body(1) == b"xxxxxxy"
    assert raw.ledger.complete == [1]


def test_an_early_answer_asks_the_client_to_stop_and_drops_what_comes() -> None:
    raw = Raw()
    raw.send(headers(1), data(1, b"part"))
    raw.stream().respond(HEAD, b"no", TAIL)
    assert resets_of(raw.output()) == [(1, Code.NO_ERROR)]
    assert raw.send(data(1, b"rest"), data(1, b"more", end=True)) == []
    assert raw.send(headers(1, block([("x", "y")]), end=True)) == []
    assert raw.ledger.body(1) == b"part"
    assert raw.ledger.gone == []


def test_tells_the_service_when_a_client_leaves() -> None:
    raw = Raw()
    raw.send(headers(1), frame(3, 0, 1, number(8)))
    assert raw.ledger.gone == [1]
    raw.stream().respond(HEAD, b"late", TAIL)
    raw.stream().send_head(HEAD)
    raw.stream().reset()
    assert raw.output() == []


def test_a_service_that_fails_costs_its_stream_only(caplog: pytest.LogCaptureFixture) -> None:
    def fail(stream: object, body: bytes) -> None:
        raise RuntimeError("a fault of ours")

    raw = Raw(answer=fail)
    output = raw.send(headers(1, end=True), headers(3), data(3, b"x", end=True), headers(5))
    assert resets_of(output) == [(1, Code.INTERNAL_ERROR), (3, Code.INTERNAL_ERROR)]
    assert "a fault of ours" in caplog.text
    assert [stream.id for stream in raw.session.streams] == [5]


def test_a_service_that_fails_at_the_end_of_a_stream_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(Ledger):
        def left(self, stream: Stream) -> None:
            raise RuntimeError("cannot leave")

    raw = Raw(ledger=Failing())
    raw.send(headers(1), headers(3), frame(3, 0, 1, number(8)))
    assert "cannot leave" in caplog.text
    assert [stream.id for stream in raw.session.streams] == [3]


def test_a_service_that_fails_after_its_answer_has_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(stream: object, body: bytes) -> None:
        echo(stream, body)  # type: ignore[arg-type]
        raise RuntimeError("too late")

    raw = Raw(answer=fail)
    assert resets_of(raw.send(headers(1, end=True))) == []
    assert "too late" in caplog.text


MALFORMED = [
    request_with(("Upper", "x")),
    request_with(("connection", "close")),
    request_with(("te", "gzip"), without="te"),
    request_with(without=":method"),
    request_with(without=":path"),
    request_with(without=":scheme"),
    request_with((":path", "/late")),
    request_with((":status", "200")),
    block([(":path", "/twice"), *REQUEST]),
    block([(":other", "x"), *REQUEST]),
    request_with(("content-length", "many")),
    request_with(("content-length", "3"), ("content-length", "4")),
    request_with(("host", "elsewhere")),
    b"",
]


@pytest.mark.parametrize("bad", MALFORMED)
def test_resets_a_malformed_request_and_goes_on(bad: bytes) -> None:
    raw = Raw(answer=echo)
    output = raw.send(headers(1, bad, end=True), headers(3, end=True))
    assert resets_of(output) == [(1, Code.PROTOCOL_ERROR)]
    assert raw.ledger.complete == [3]


@pytest.mark.parametrize("sizes", [(5,), (2,), (2, 2), (0,)])
def test_resets_a_request_whose_body_is_not_as_long_as_it_said(sizes: tuple[int, ...]) -> None:
    raw = Raw(answer=echo)
    parts = [data(1, bytes(size)) for size in sizes[:-1]] + [data(1, bytes(sizes[-1]), end=True)]
    output = raw.send(headers(1, request_with(("content-length", "3"))), *parts)
    assert resets_of(output)[0] == (1, Code.PROTOCOL_ERROR)
    assert raw.ledger.gone == [1]
    assert raw.ledger.complete == []


def test_resets_a_request_without_the_body_it_promised() -> None:
    raw = Raw()
    output = raw.send(headers(1, request_with(("content-length", "3")), end=True))
    assert resets_of(output) == [(1, Code.PROTOCOL_ERROR)]


STREAM_FAULTS = [
    (headers(1, end=True), data(1, b"x"), Code.STREAM_CLOSED),
    (headers(1, end=True), headers(1, end=True), Code.STREAM_CLOSED),
    (headers(1), headers(1, block([("x", "y")])), Code.PROTOCOL_ERROR),
    (headers(1), headers(1, GOOD, end=True), Code.PROTOCOL_ERROR),
    (headers(1), frame(8, 0, 1, number(0)), Code.PROTOCOL_ERROR),
    (headers(1), frame(8, 0, 1, number(2**31 - 1)), Code.FLOW_CONTROL_ERROR),
    (headers(1), frame(2, 0, 1, number(1) + b"\x00"), Code.PROTOCOL_ERROR),
    (headers(1), frame(2, 0, 1, b"\x00"), Code.FRAME_SIZE_ERROR),
]


@pytest.mark.parametrize(("before", "bad", "code"), STREAM_FAULTS)
def test_a_stream_error_ends_the_stream_only(before: bytes, bad: bytes, code: int) -> None:
    raw = Raw()
    raw.send(before)
    assert resets_of(raw.send(bad)) == [(1, code)]
    assert raw.ledger.gone == [1]
    assert not raw.session.is_closed


CONNECTION_FAULTS = [
    (headers(2), Code.PROTOCOL_ERROR),
    (headers(0), Code.PROTOCOL_ERROR),
    (data(0, b"x"), Code.PROTOCOL_ERROR),
    (data(1, b"x"), Code.PROTOCOL_ERROR),
    (data(4, b"x"), Code.PROTOCOL_ERROR),
    (frame(3, 0, 1, number(8)), Code.PROTOCOL_ERROR),
    (frame(3, 0, 0, number(8)), Code.PROTOCOL_ERROR),
    (headers(1) + frame(3, 0, 1, b"\x00"), Code.FRAME_SIZE_ERROR),
    (frame(8, 0, 0, number(0)), Code.PROTOCOL_ERROR),
    (frame(8, 0, 0, number(2**31 - 1)), Code.FLOW_CONTROL_ERROR),
    (frame(8, 0, 0, b"\x00"), Code.FRAME_SIZE_ERROR),
    (frame(8, 0, 1, number(1)), Code.PROTOCOL_ERROR),
    (frame(6, 0, 0, b"short"), Code.FRAME_SIZE_ERROR),
    (frame(6, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    (frame(4, 0, 1), Code.PROTOCOL_ERROR),
    (frame(4, 0, 0, b"short"), Code.FRAME_SIZE_ERROR),
    (frame(4, 1, 0, bytes(6)), Code.FRAME_SIZE_ERROR),
    (setting(2, 2), Code.PROTOCOL_ERROR),
    (setting(4, 2**31), Code.FLOW_CONTROL_ERROR),
    (setting(5, 100), Code.PROTOCOL_ERROR),
    (frame(5, 4, 1, number(2)), Code.PROTOCOL_ERROR),
    (frame(7, 0, 1, bytes(8)), Code.PROTOCOL_ERROR),
    (frame(7, 0, 0, bytes(7)), Code.FRAME_SIZE_ERROR),
    (frame(2, 0, 0, bytes(5)), Code.PROTOCOL_ERROR),
    (frame(2, 0, 9, bytes(4)), Code.FRAME_SIZE_ERROR),
    (frame(2, 0, 9, number(9) + b"\x00"), Code.PROTOCOL_ERROR),
    (frame(9, 4, 1, GOOD), Code.PROTOCOL_ERROR),
    (frame(1, 0, 1, GOOD[:4]) + data(1, b"x"), Code.PROTOCOL_ERROR),
    (frame(1, 0, 1, GOOD[:4]) + frame(6, 0, 0, bytes(8)), Code.PROTOCOL_ERROR),
    (frame(1, 0, 1, GOOD[:4]) + frame(9, 4, 3, GOOD[4:]), Code.PROTOCOL_ERROR),
    (headers(1, b"\xff\xff\xff"), Code.COMPRESSION_ERROR),
    (headers(1, b"\x20" * 9 + GOOD), Code.COMPRESSION_ERROR),
    (headers(1, b"\x3f\xe2\x1f" + GOOD), Code.COMPRESSION_ERROR),
    (frame(1, 0x0C, 1, b""), Code.FRAME_SIZE_ERROR),
    (frame(1, 0x0C, 1, b"\x09" + b"x"), Code.PROTOCOL_ERROR),
    (frame(1, 0x24, 1, b"\x00"), Code.FRAME_SIZE_ERROR),
    (frame(1, 0x24, 1, number(1) + b"\x00" + GOOD), Code.PROTOCOL_ERROR),
    (headers(1) + frame(0, 8, 1, b""), Code.FRAME_SIZE_ERROR),
    (headers(1) + frame(0, 8, 1, b"\x05xx"), Code.PROTOCOL_ERROR),
    (number(300_000 << 8)[:3] + b"\x00\x00\x00\x00\x00\x01", Code.FRAME_SIZE_ERROR),
    (headers(3) + headers(1), Code.STREAM_CLOSED),
]


@pytest.mark.parametrize(("bad", "code"), CONNECTION_FAULTS)
def test_a_connection_error_ends_the_connection(bad: bytes, code: int) -> None:
    raw = Raw()
    gone = goaway_of(raw.send(bad))
    assert gone is not None
    assert gone[0] == code
    assert raw.session.is_closed
    assert raw.session.is_done
    assert sorted(raw.ledger.gone) == sorted(s.id for s in raw.ledger.opened_streams)
    assert raw.send(headers(7)) == []


@pytest.mark.parametrize(
    "bad", [b"GET / HTTP/1.1\r\n", PREFACE + frame(6, 0, 0, bytes(8)), PREFACE + frame(4, 1, 0)]
)
def test_a_connection_must_begin_with_preface_and_settings(bad: bytes) -> None:
    raw = Raw(greet=False)
    gone = goaway_of(raw.send(bad))
    assert gone is not None
    assert gone[0] == Code.PROTOCOL_ERROR


def test_refuses_more_requests_than_it_said() -> None:
    raw = Raw(Http2Limits(max_concurrent_streams=2))
    output = raw.send(headers(1), headers(3), headers(5), headers(7))
    assert resets_of(output) == [(5, Code.REFUSED_STREAM), (7, Code.REFUSED_STREAM)]
    raw.send(data(1, end=True))
    raw.stream(1).respond(HEAD, b"", TAIL)
    assert resets_of(raw.send(headers(9))) == []


def test_a_cancelled_request_counts_while_its_work_runs() -> None:
    raw = Raw(Http2Limits(max_concurrent_streams=1))
    raw.ledger.set_up = lambda stream: stream.hold()
    raw.send(headers(1), frame(3, 0, 1, number(8)))
    assert resets_of(raw.send(headers(3))) == [(3, Code.REFUSED_STREAM)]
    raw.stream(1).let_go()
    assert not raw.session.is_busy
    assert resets_of(raw.send(headers(5))) == []


def test_reads_any_number_of_frames_in_one_go_and_in_pieces_of_one_octet() -> None:
    stream = b"".join(
        [
            PREFACE,
            setting(4, 100),
            frame(4, 1, 0),
            headers(1),
            data(1, b"abc"),
            frame(0, 9, 1, b"\x02" + b"de" + bytes(2)),
            frame(200, 7, 9, b"unknown"),
            frame(7, 0, 0, bytes(8)),
            headers(3, end=True),
        ]
    )
    whole = Raw(answer=echo, greet=False)
    expected = whole.send(stream)
    piecewise = Raw(answer=echo, greet=False)
    output = [f for octet in stream for f in piecewise.send(bytes([octet]))]
    assert output == expected
    assert piecewise.ledger.body(1) == whole.ledger.body(1) == b"abcde"
    assert piecewise.session.partial_since is None


@given(st.lists(st.integers(1, 40), min_size=1), st.binary(max_size=300))
def test_how_bytes_are_cut_makes_no_difference(cuts: list[int], body: bytes) -> None:
    encoder = dynamic_blocks()
    wire = PREFACE + frame(4, 0, 0)
    for stream_id in (1, 3, 5):
        fields = encoder.encode([*REQUEST, ("x-id", str(stream_id // 2))])
        wire += headers(stream_id, fields) + data(stream_id, body) + data(stream_id, b"z", end=True)
    whole = Raw(answer=echo, greet=False)
    expected = whole.send(wire)
    pieces = Raw(answer=echo, greet=False)
    output = []
    index = 0
    while wire:
        cut = cuts[index % len(cuts)]
        output += pieces.send(wire[:cut])
        wire = wire[cut:]
        index += 1
    assert output == expected
    assert [pieces.ledger.body(i) for i in (1, 3, 5)] == [body + b"z"] * 3


FRAMES = st.builds(
    frame,
    st.integers(0, 11),
    st.integers(0, 255),
    st.sampled_from([0, 1, 1, 2, 3, 3, 5, 7, 2**31]),
    st.one_of(
        st.binary(max_size=40),
        st.just(GOOD),
        st.integers(0, 2**32 - 1).map(number),
        st.binary(min_size=8, max_size=8),
    ),
)


@given(st.lists(FRAMES, max_size=30), st.booleans())
def test_whatever_comes_is_answered_or_ends_the_connection_cleanly(
    wire: list[bytes], is_cut: bool
) -> None:
    raw = Raw(answer=echo)
    for part in wire:
        pieces = [part[:5], part[5:]] if is_cut else [part]
        for piece in pieces:
            raw.send(piece)
    ids = [stream.id for stream in raw.session.streams]
    if raw.session.is_closed:
        assert ids == []
    assert set(ids).isdisjoint(raw.ledger.gone)
    assert not raw.session.is_reading


@given(st.binary(max_size=200))
def test_noise_behind_the_preface_never_raises(noise: bytes) -> None:
    raw = Raw(greet=False)
    raw.send(PREFACE + noise)
    raw.session.fail(Code.NO_ERROR, "end")
    assert raw.session.is_done


def test_a_graceful_end_waits_for_what_is_on_its_way() -> None:
    raw = Raw()
    raw.send(headers(1))
    raw.session.drain()
    raw.session.drain()
    first, probe = raw.output()
    assert first == (7, 0, 0, number(2**31 - 1) + number(0))
    raw.send(headers(3, end=True))
    assert not raw.session.is_final
    output = raw.send(frame(6, 1, 0, probe[3]))
    assert output == [(7, 0, 0, number(3) + number(0))]
    assert resets_of(raw.send(headers(5))) == [(5, Code.REFUSED_STREAM)]
    raw.stream(3).respond(HEAD, b"", TAIL)
    raw.send(data(1, end=True))
    raw.stream(1).refuse(HEAD)
    assert raw.session.is_done
    raw.session.finish_drain()
    raw.session.fail(Code.NO_ERROR, "end")
    raw.session.drain()
    raw.session.fail(Code.NO_ERROR, "again")
    assert goaway_of(raw.output()) == (0, b"end")


def test_greets_with_its_limits() -> None:
    raw = Raw(Http2Limits(connection_window_bytes=65_535), greet=False)
    ((kind, _, _, payload),) = frames(b"".join(raw.session.out.take()))
    assert kind == 4
    assert len(payload) == 30
    assert raw.session.peer == "127.0.0.1"
