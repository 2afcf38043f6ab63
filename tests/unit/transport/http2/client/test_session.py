import struct

import hpack
import pytest
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transport.http2.client.answering import ASK, END, OK, Asking, Raw, Talk
from tests.unit.transport.http2.talk import (
    GOOD,
    Ledger,
    block,
    data,
    echo,
    frame,
    frames,
    goaway_of,
    headers,
    number,
    resets_of,
    setting,
)

from salver.transport.http2.client.stream import ClientStream
from salver.transport.http2.frames import Code
from salver.transport.http2.header_blocks import encode_block
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.session import Session


def goaway(last_id: int, code: int = 0, said: bytes = b"") -> bytes:
    return frame(7, 0, 0, struct.pack(">II", last_id, code) + said)


def trailers(stream_id: int, fields: bytes = END) -> bytes:
    return headers(stream_id, fields, end=True)


def answer(stream_id: int, body: bytes = b"fine") -> bytes:
    return headers(stream_id, OK) + data(stream_id, body) + trailers(stream_id)


# What goes well.


def test_asks_a_server_of_another_implementation() -> None:
    talk = Talk()
    asking = talk.ask(b"hello")
    assert asking.is_over
    assert asking.loss is None
    assert asking.body == b"hello"
    assert asking.stream is not None
    assert asking.stream.headers.status == 200
    assert asking.stream.headers.get(b"content-type") == b"application/grpc"
    assert asking.stream.trailers is not None
    assert asking.stream.trailers.get(b"grpc-status") == b"0"
    assert (b":path", b"/a/b") in talk.requests[1]
    assert not talk.session.outstanding


def test_asks_many_times_over_one_connection() -> None:
    talk = Talk()
    askings = [talk.ask(b"%d" % turn) for turn in range(200)]
    assert [asking.body for asking in askings] == [b"%d" % turn for turn in range(200)]


def test_answers_out_of_order_come_to_those_who_asked() -> None:
    raw = Raw()
    first, second = raw.ask(b"1"), raw.ask(b"2")
    raw.send(answer(3, b"two"), answer(1, b"one"))
    assert (first.body, second.body) == (b"one", b"two")


def test_declines_pushes_and_says_what_it_takes() -> None:
    raw = Raw(greet=False)
    kinds = [kind for kind, *_ in raw.greeting]
    assert kinds == [4, 8]
    said = dict(struct.iter_unpack(">HI", raw.greeting[0][3]))
    assert said[2] == 0
    assert said[4] == Http2Limits().stream_window_bytes


def test_begins_nothing_before_the_settings_of_the_server() -> None:
    raw = Raw(greet=False)
    assert not raw.session.has_room
    raw.send(frame(4, 0, 0))
    assert raw.session.has_room


def test_carries_large_bodies_both_ways_through_small_windows() -> None:
    limits = Http2Limits(stream_window_bytes=20_000, connection_window_bytes=70_000)
    talk = Talk(limits, settings={SettingCodes.INITIAL_WINDOW_SIZE: 9_000})
    body = bytes(range(256)) * 1200
    asking = talk.ask(body)
    assert asking.body == body


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=40_000), min_size=1, max_size=6), st.integers(1, 60_000))
def test_any_bodies_come_back_through_any_windows(bodies: list[bytes], window: int) -> None:
    talk = Talk(settings={SettingCodes.INITIAL_WINDOW_SIZE: window})
    askings = [talk.ask(body) for body in bodies]
    assert [asking.body for asking in askings] == bodies


def test_the_same_fields_are_read_once() -> None:
    raw = Raw()
    first, second = raw.ask(), raw.ask()
    raw.send(answer(1), answer(3))
    assert first.stream is not None
    assert second.stream is not None
    assert first.stream.headers is second.stream.headers
    assert first.stream.trailers is second.stream.trailers


def test_an_answer_may_be_one_header_block() -> None:
    raw = Raw()
    asking = raw.ask()
    fields = encode_block([(b":status", b"200"), (b"grpc-status", b"5")])
    raw.send(headers(1, fields, end=True))
    assert asking.is_over
    assert asking.loss is None
    assert asking.stream is not None
    assert asking.stream.trailers is None
    assert asking.stream.headers.get(b"grpc-status") == b"5"


def test_what_a_server_says_meanwhile_is_not_its_answer() -> None:
    raw = Raw()
    asking = raw.ask()
    raw.send(headers(1, block([(":status", "103"), ("link", "a")])), answer(1))
    assert asking.body == b"fine"
    assert asking.stream is not None
    assert asking.stream.headers.status == 200


def test_a_length_without_a_body_is_no_fault_of_an_answer_to_head() -> None:
    raw = Raw()
    asking = raw.ask(b"")
    raw.send(headers(1, block([(":status", "200"), ("content-length", "7")]), end=True))
    assert asking.is_over
    assert asking.loss is None


def test_reads_answers_one_byte_at_a_time() -> None:
    raw = Raw()
    asking = raw.ask()
    for octet in answer(1, b"x" * 300):
        raw.send(bytes([octet]))
    assert asking.body == b"x" * 300
    assert asking.is_over


def test_reads_header_blocks_that_use_the_dynamic_table() -> None:
    raw = Raw()
    encoder = hpack.Encoder()
    for turn in range(20):
        stream_id = 2 * turn + 1
        asking = raw.ask()
        fields = encoder.encode([(":status", "200"), ("x-turn", str(turn // 4))])
        raw.send(headers(stream_id, fields), trailers(stream_id, encoder.encode([("a", "b")])))
        assert asking.stream is not None
        assert asking.stream.headers.get(b"x-turn") == b"%d" % (turn // 4)
        assert asking.stream.trailers is not None
        assert asking.stream.trailers.get(b"a") == b"b"


def test_asks_our_own_server() -> None:
    """Both sides of ours, without a socket."""
    raw = Raw(greet=False)
    server = Session(
        Ledger(echo),
        Http2Limits(),
        clock=raw.clock,
        wake=lambda: None,
        new_waiter=lambda: None,  # type: ignore[arg-type, return-value]
    )
    server.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rejoined(raw.greeting))

    def exchange() -> None:
        while True:
            if server.out.can_pump:
                server.out.pump()
            downward = b"".join(server.out.take())
            raw.session.receive(downward)
            upward = rejoined(raw.output())
            server.receive(upward)
            if not upward and not downward:
                return

    exchange()
    askings = [raw.ask(b"x" * size) for size in (0, 1, 10_000, 5_000_000)]
    exchange()
    assert [len(asking.body) for asking in askings] == [0, 1, 10_000, 5_000_000]
    assert all(asking.loss is None for asking in askings)
    server.drain()
    exchange()
    assert raw.session.is_leaving
    assert raw.session.is_done
    assert server.is_done


def rejoined(output: list[tuple[int, int, int, bytes]]) -> bytes:
    return b"".join(frame(kind, flags, sid, payload) for kind, flags, sid, payload in output)


# Streams both ways.


def test_a_request_may_be_sent_by_parts_while_its_answer_comes() -> None:
    raw = Raw()
    asking = Asking()
    stream = raw.session.begin(ASK, asking)
    stream.send_data(b"one")
    raw.send(headers(1, OK), data(1, b"first"))
    assert asking.body == b"first"
    stream.send_data(b"two")
    stream.send_trailers()
    output = raw.output()
    assert [(kind, flags, payload) for kind, flags, _, payload in output] == [
        (0, 0, b"two"),
        (0, 1, b""),
    ]
    raw.send(data(1, b"second"), trailers(1))
    assert asking.body == b"firstsecond"
    assert asking.is_over


def test_what_is_not_credited_bounds_what_a_server_may_send() -> None:
    raw = Raw(Http2Limits(stream_window_bytes=100))
    asking = raw.ask()
    assert asking.stream is not None
    asking.stream.auto_credit = False
    raw.send(headers(1, OK), data(1, bytes(100)))
    assert 8 not in [kind for kind, *_ in raw.output()]
    asking.stream.credit(100)
    assert (8, 0, 1, number(100)) in raw.output()


# Ends.


def test_an_answer_before_the_end_of_its_request_ends_both() -> None:
    raw = Raw()
    raw.send(setting(4, 10))
    asking = raw.ask(bytes(50))
    output = raw.send(answer(1))
    assert asking.loss is None
    assert asking.is_over
    assert resets_of(output) == [(1, Code.CANCEL)]


def test_a_refused_request_has_not_begun() -> None:
    raw = Raw()
    asking = raw.ask()
    raw.send(frame(3, 0, 1, number(Code.REFUSED_STREAM)))
    assert asking.loss is not None
    assert not asking.loss.has_begun


@pytest.mark.parametrize("code", [Code.CANCEL, Code.INTERNAL_ERROR, Code.ENHANCE_YOUR_CALM])
def test_a_request_that_was_reset_may_have_begun(code: int) -> None:
    raw = Raw()
    asking = raw.ask()
    raw.send(frame(3, 0, 1, number(code)))
    assert asking.loss is not None
    assert asking.loss.has_begun
    assert asking.loss.code == code


def test_a_server_that_goes_has_not_begun_what_is_above_its_last_id() -> None:
    raw = Raw()
    first, second = raw.ask(), raw.ask()
    raw.send(goaway(1))
    assert first.loss is None
    assert second.loss is not None
    assert not second.loss.has_begun
    assert not raw.session.has_room
    assert not raw.session.is_done
    raw.send(answer(1))
    assert first.body == b"fine"
    assert raw.session.is_done


def test_a_server_that_announces_its_end_answers_what_it_has() -> None:
    raw = Raw()
    asking = raw.ask()
    raw.send(goaway(2**31 - 1))
    assert asking.loss is None
    assert raw.session.is_leaving
    raw.send(goaway(1), answer(1))
    assert asking.body == b"fine"


def test_of_a_lost_connection_only_what_was_not_sent_has_not_begun() -> None:
    raw = Raw()
    raw.send(setting(4, 10))
    sent, unsent = raw.ask(b"x"), raw.ask(bytes(50))
    raw.session.lose("the connection is gone")
    assert sent.loss is not None
    assert unsent.loss is not None
    assert sent.loss.has_begun
    assert not unsent.loss.has_begun
    assert sent.loss.reason == "the connection is gone"


def test_a_request_that_is_given_up_is_reset_and_its_late_frames_are_dropped() -> None:
    raw = Raw()
    asking = raw.ask()
    assert asking.stream is not None
    asking.stream.reset()
    assert resets_of(raw.output()) == [(1, Code.CANCEL)]
    output = raw.send(answer(1))
    assert goaway_of(output) is None
    assert not asking.parts


def test_clients_who_leave_do_not_cost_others_the_connection() -> None:
    """A server counts resets; beyond half of them, requests end by themselves."""
    limits = Http2Limits(reset_burst=100)
    many = {SettingCodes.MAX_CONCURRENT_STREAMS: 1000}
    talk = Talk(limits, answer=lambda talk, stream_id, body: None, settings=many)
    askings = [talk.ask() for _ in range(300)]
    for asking in askings:
        assert asking.stream is not None
        asking.stream.reset()
    talk.exchange()
    assert 40 <= len(talk.resets) <= 60
    left = [stream_id for stream_id in talk.bodies if stream_id not in talk.resets]
    assert talk.session.outstanding == len(left)
    for stream_id in left:
        talk.respond(stream_id, bytes(1000))
    talk.exchange()
    assert not talk.session.outstanding
    assert not any(asking.parts for asking in askings)
    assert talk.ask().body == b""  # nobody answers, but nothing is broken either


def test_ids_that_are_used_up_end_a_connection_gently() -> None:
    raw = Raw()
    raw.session._streams.last_id = 2**31 - 3
    asking = raw.ask()
    assert raw.session.is_leaving
    raw.send(answer(2**31 - 1))
    assert asking.body == b"fine"
    assert raw.session.is_done


# What a server must not do.


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(5, 4, 1, number(2) + GOOD), Code.PROTOCOL_ERROR),  # a push
        (setting(2, 1), Code.PROTOCOL_ERROR),  # a server has no push to allow
        (headers(2, OK), Code.PROTOCOL_ERROR),
        (headers(9, OK), Code.PROTOCOL_ERROR),  # nobody has asked
        (data(9, b"x"), Code.PROTOCOL_ERROR),
        (headers(1, b"\xff\xff\xff\xff\xff\xff\xff"), Code.COMPRESSION_ERROR),
        (headers(1, b"\x3f\xff\xff\xff\xff\xff\xff"), Code.COMPRESSION_ERROR),
        (goaway(1)[:-1].replace(b"\x00\x00\x08", b"\x00\x00\x07", 1), Code.FRAME_SIZE_ERROR),
        (frame(4, 0, 0, b"x"), Code.FRAME_SIZE_ERROR),
        (setting(4, 2**31), Code.FLOW_CONTROL_ERROR),
        (frame(8, 0, 0, number(2**31 - 1)) * 2, Code.FLOW_CONTROL_ERROR),
        (frame(6, 0, 0, b"short"), Code.FRAME_SIZE_ERROR),
        (frame(0, 0, 1, bytes(300_000)), Code.FRAME_SIZE_ERROR),
    ],
)
def test_a_fault_of_a_server_ends_the_connection_and_tells_who_waits(
    sent: bytes, code: int
) -> None:
    raw = Raw()
    asking = raw.ask()
    ended = goaway_of(raw.send(sent))
    assert ended is not None
    assert ended[0] == code
    assert raw.session.is_closed
    assert asking.loss is not None
    assert asking.loss.has_begun


@pytest.mark.parametrize(
    "sent",
    [
        data(1, b"before its head"),
        headers(1, block([(":status", "200"), (":status", "200")])),
        headers(1, block([("no-status", "200")])),
        headers(1, block([(":status", "20")])),
        headers(1, block([(":status", "200"), (":path", "/")])),
        headers(1, block([(":status", "200"), ("Upper", "x")])),
        headers(1, OK) + headers(1, OK),
        headers(1, OK) + headers(1, END),  # trailers without an end
        headers(1, OK) + trailers(1, OK),
        headers(1, block([(":status", "100")]), end=True),
        headers(1, block([(":status", "200"), ("content-length", "3")])) + data(1, b"four"),
        headers(1, block([(":status", "200"), ("content-length", "3")])) + data(1, b"2", end=True),
        frame(8, 0, 1, number(0)),
    ],
)
def test_a_fault_of_one_answer_ends_that_request_alone(sent: bytes) -> None:
    raw = Raw()
    asking, other = raw.ask(), raw.ask()
    output = raw.send(sent)
    assert [stream_id for stream_id, _ in resets_of(output)] == [1]
    assert asking.loss is not None
    assert asking.loss.has_begun
    raw.send(answer(3))
    assert other.body == b"fine"


def test_an_answer_with_too_many_fields_ends_that_request() -> None:
    raw = Raw(Http2Limits(max_header_list_bytes=500))
    asking = raw.ask()
    raw.send(headers(1, block([(":status", "200"), ("x", "y" * 500)])))
    assert asking.loss is not None
    assert not raw.session.is_closed


def test_a_header_block_without_end_ends_the_connection() -> None:
    raw = Raw()
    asking = raw.ask()
    raw.send(frame(1, 0, 1, OK), *(frame(9, 0, 1, b"") for _ in range(20)))
    assert raw.session.is_closed
    assert asking.loss is not None


@pytest.mark.parametrize(
    "flood",
    [
        frame(6, 0, 0, bytes(8)),
        frame(4, 0, 0),
        setting(3, 100),
        frame(8, 0, 0, number(1)),
        frame(2, 0, 1, bytes(5)),
        data(1),
        frame(77, 0, 0, b"x"),
        headers(1, block([(":status", "103")])),
        goaway(1),
    ],
    ids=["ping", "settings", "streams", "window", "priority", "empty", "unknown", "1xx", "goaway"],
)
def test_a_flood_of_frames_that_move_nothing_ends_the_connection(flood: bytes) -> None:
    raw = Raw(Http2Limits(control_burst=200))
    asking = raw.ask()
    if flood == data(1):
        raw.send(headers(1, OK))
    written = 0
    for _ in range(100):
        written += sum(len(payload) + 9 for *_, payload in raw.send(flood * 10))
        while raw.session.has_more:
            raw.send()
    assert raw.session.is_closed
    assert asking.loss is not None
    assert written < 10_000


def test_more_than_the_window_ends_the_request() -> None:
    raw = Raw(Http2Limits(stream_window_bytes=100))
    asking = raw.ask()
    assert asking.stream is not None
    asking.stream.auto_credit = False
    raw.send(headers(1, OK), data(1, bytes(101)))
    assert asking.loss is not None
    assert not asking.parts


def test_more_than_the_window_of_the_connection_ends_that() -> None:
    raw = Raw(Http2Limits(connection_window_bytes=65_535, stream_window_bytes=65_535))
    first, second = raw.ask(), raw.ask()
    for asking in (first, second):
        assert asking.stream is not None
        asking.stream.auto_credit = False
    raw.send(headers(1, OK), headers(3, OK), data(1, bytes(40_000)))
    ended = goaway_of(raw.send(data(3, bytes(40_000))))
    assert ended is not None
    assert ended[0] == Code.FLOW_CONTROL_ERROR
    assert first.loss is not None
    assert second.loss is not None


def test_resets_without_end_are_not_borne() -> None:
    raw = Raw(Http2Limits(reset_burst=50, resets_per_s=1))
    for turn in range(60):
        if raw.session.is_closed:
            break
        raw.ask()
        raw.send(frame(3, 0, 2 * turn + 1, number(Code.REFUSED_STREAM)))
    assert raw.session.is_closed


def test_a_server_that_takes_no_streams_has_no_room() -> None:
    raw = Raw()
    raw.send(setting(3, 0))
    assert not raw.session.has_room
    raw.send(setting(3, 1))
    raw.ask()
    assert not raw.session.has_room
    raw.send(answer(1))
    assert raw.session.has_room


def test_who_waits_for_room_is_told_of_it() -> None:
    raw = Raw()
    raw.send(setting(3, 1))
    begun: list[ClientStream] = []

    def begin() -> None:
        if raw.session.has_room:
            begun.append(raw.session.ask(ASK, b"next", Asking()))

    raw.ask()
    raw.output()
    raw.session.when_room(begin)
    output = raw.send(answer(1))
    assert [stream.id for stream in begun] == [3]
    assert frames(rejoined(output))[0][2] == 3


def test_an_asker_that_fails_ends_its_request_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Asking):
        def received(self, data: bytes | memoryview, is_last: bool) -> None:
            raise RuntimeError("no")

    raw = Raw()
    failing = Failing()
    raw.session.ask(ASK, b"x", failing)
    other = raw.ask()
    raw.send(answer(1), answer(3))
    assert other.body == b"fine"
    assert "has failed" in caplog.text
