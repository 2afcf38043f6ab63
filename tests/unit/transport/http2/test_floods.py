"""Hostile clients: each meets the limit that is named after what it does."""

from collections.abc import Callable

import pytest
from tests.unit.transport.http2.talk import (
    GOOD,
    HEAD,
    REQUEST,
    TAIL,
    Raw,
    data,
    dynamic_blocks,
    echo,
    frame,
    goaway_of,
    headers,
    number,
    resets_of,
    setting,
)

from salver.transport.http2.frames import Code
from salver.transport.http2.limits import Http2Limits

CALM = Code.ENHANCE_YOUR_CALM
PING = frame(6, 0, 0, bytes(8))
QUIET = Http2Limits(control_burst=20, max_ping_strikes=0)

FLOODS: dict[str, bytes] = {
    "ping": PING,
    "ping acknowledgement": frame(6, 1, 0, bytes(8)),
    "settings": frame(4, 0, 0),
    "settings acknowledgement": frame(4, 1, 0),
    "priority": frame(2, 0, 9, bytes(5)),
    "empty data": data(1),
    "padding alone": frame(0, 8, 1, b"\x03" + bytes(3)),
    "window of the connection": frame(8, 0, 0, number(1)),
    "window of a stream": frame(8, 0, 1, number(1)),
    "reset of a stream that has gone": frame(3, 0, 3, number(8)),
    "unknown frame": frame(77, 0, 0, b"x"),
    "goaway": frame(7, 0, 0, bytes(8)),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_frames_that_move_nothing_run_out_of_credit(flood: bytes) -> None:
    raw = Raw(QUIET)
    raw.send(headers(1), headers(3))
    raw.stream(3).refuse(HEAD)
    assert goaway_of(raw.send(flood * 15)) is None
    assert goaway_of(raw.send(flood * 30)) == (CALM, b"too many frames that move nothing")
    assert raw.ledger.gone == [1]


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_frames_that_move_nothing_are_fine_at_a_slow_pace(flood: bytes) -> None:
    raw = Raw(QUIET)
    raw.send(headers(1), headers(3))
    raw.stream(3).refuse(HEAD)
    for _ in range(100):
        assert goaway_of(raw.send(flood)) is None
        raw.clock.now += 1
        raw.session.tick(raw.clock.now)


def test_credit_is_not_saved_up_beyond_the_first_burst() -> None:
    raw = Raw(QUIET, answer=echo)
    for stream_id in range(1, 101, 2):
        raw.send(headers(stream_id, end=True))
    raw.session.tick(raw.clock.now)
    assert goaway_of(raw.send(PING * 21)) is not None


def test_a_client_may_acknowledge_the_data_it_reads() -> None:
    raw = Raw(QUIET, answer=echo)
    raw.send(headers(1))
    for _ in range(40):
        raw.send(data(1, bytes(20_000)))
    raw.send(data(1, b"", end=True))
    for _ in range(60):
        output = raw.send(frame(8, 0, 0, number(16_384)), frame(8, 0, 1, number(16_384)))
        assert goaway_of(output) is None
    assert not raw.session.is_busy


def test_window_by_the_octet_does_not_earn_credit() -> None:
    raw = Raw(QUIET)
    raw.send(setting(4, 0), headers(1, end=True))
    raw.stream().respond(HEAD, bytes(1000), TAIL)
    steps = [raw.send(frame(8, 0, 1, number(1))) for _ in range(60)]
    assert any(
        goaway_of(output) == (CALM, b"too many frames that move nothing") for output in steps
    )


def test_rapid_resets_end_the_connection() -> None:
    raw = Raw(Http2Limits(reset_burst=10))
    gone = None
    for stream_id in range(1, 25, 2):
        gone = gone or goaway_of(raw.send(headers(stream_id), frame(3, 0, stream_id, number(8))))
    assert gone == (CALM, b"too many resets")


def test_resets_at_a_slow_pace_or_beside_answers_are_fine() -> None:
    raw = Raw(Http2Limits(reset_burst=2, resets_per_s=1))
    for stream_id in range(1, 101, 4):
        raw.send(headers(stream_id), frame(3, 0, stream_id, number(8)))
        raw.send(headers(stream_id + 2, end=True))
        raw.stream(stream_id + 2).respond(HEAD, b"", TAIL)
    for stream_id in range(201, 301, 2):
        raw.send(headers(stream_id), frame(3, 0, stream_id, number(8)))
        raw.clock.now += 1.5
        raw.session.tick(raw.clock.now)
    assert not raw.session.is_closed


PROVOCATIONS: dict[str, Callable[[int], bytes]] = {
    "zero increment": lambda i: headers(i) + frame(8, 0, i, number(0)),
    "window overflow": lambda i: headers(i) + frame(8, 0, i, number(2**31 - 1)),
    "data behind the end": lambda i: headers(i, end=True) + data(i, b"x"),
    "headers behind the end": lambda i: headers(i, end=True) + headers(i, end=True),
    "priority on itself": lambda i: headers(i) + frame(2, 0, i, number(i) + b"\x00"),
    "malformed": lambda i: headers(i, b"\x82"),
}


@pytest.mark.parametrize("provoke", PROVOCATIONS.values(), ids=PROVOCATIONS)
def test_resets_that_a_client_makes_the_server_send_count_too(
    provoke: Callable[[int], bytes],
) -> None:
    raw = Raw(Http2Limits(reset_burst=10))
    gone = None
    for stream_id in range(1, 25, 2):
        gone = gone or goaway_of(raw.send(provoke(stream_id)))
    assert gone == (CALM, b"too many resets")


def test_provoked_resets_do_not_start_more_work_than_the_bound() -> None:
    raw = Raw(Http2Limits(max_concurrent_streams=3))
    raw.ledger.set_up = lambda stream: stream.hold()
    for stream_id in range(1, 41, 2):
        raw.send(headers(stream_id), frame(8, 0, stream_id, number(0)))
    assert len(raw.ledger.opened_streams) == 3


@pytest.mark.parametrize("part", [b"", b"\x82"])
def test_a_flood_of_continuations_ends_the_connection(part: bytes) -> None:
    raw = Raw(Http2Limits(max_continuation_frames=4))
    output = raw.send(frame(1, 0, 1, GOOD), *[frame(9, 0, 1, part)] * 5)
    assert goaway_of(output) == (CALM, b"too many CONTINUATION frames")


def test_a_header_block_is_refused_before_it_is_all_there() -> None:
    raw = Raw(Http2Limits(max_header_list_bytes=1000))
    announced = frame(1, 4, 1, bytes(2001))[:9]
    assert goaway_of(raw.send(announced)) == (CALM, b"header block too large")
    raw = Raw(Http2Limits(max_header_list_bytes=1000))
    output = raw.send(frame(1, 0, 1, bytes(1500)), frame(9, 0, 1, bytes(501)))
    assert goaway_of(output) == (CALM, b"header block too large")


def test_other_frames_are_refused_before_they_are_all_there() -> None:
    raw = Raw()
    announced = frame(77, 0, 0, bytes(20_000))[:9]
    assert goaway_of(raw.send(announced)) == (CALM, b"frame too long for its kind")


def test_an_hpack_bomb_is_not_inflated() -> None:
    encoder = dynamic_blocks()
    raw = Raw(Http2Limits(max_header_list_bytes=8000), answer=echo)
    raw.send(headers(1, encoder.encode([*REQUEST, ("bomb", "b" * 3000)]), end=True))
    twice = encoder.encode([*REQUEST, *[("bomb", "b" * 3000)] * 3])
    assert len(twice) < 100
    assert resets_of(raw.send(headers(3, twice, end=True))) == [(3, CALM)]
    often = encoder.encode([*REQUEST, *[("bomb", "b" * 3000)] * 1000])
    gone = goaway_of(raw.send(headers(5, often, end=True)))
    assert gone == (Code.COMPRESSION_ERROR, b"bad header block")
    assert raw.ledger.complete == [1]


def test_large_trailers_end_their_stream() -> None:
    encoder = dynamic_blocks()
    raw = Raw(Http2Limits(max_header_list_bytes=8000))
    raw.send(headers(1, encoder.encode([*REQUEST, ("bomb", "b" * 3000)])))
    output = raw.send(headers(1, encoder.encode([("bomb", "b" * 3000)] * 3), end=True))
    assert resets_of(output) == [(1, CALM)]


def test_a_table_beyond_the_bound_is_refused() -> None:
    raw = Raw(Http2Limits(header_table_bytes=0))
    encoder = dynamic_blocks()
    encoder.header_table_size = 0
    assert resets_of(raw.send(headers(1, encoder.encode(REQUEST)))) == []
    gone = goaway_of(raw.send(headers(3, b"\x21" + GOOD)))
    assert gone == (Code.COMPRESSION_ERROR, b"bad header block")


def test_a_body_beyond_its_window_ends_its_stream() -> None:
    raw = Raw(Http2Limits(stream_window_bytes=10))
    raw.ledger.set_up = lambda stream: setattr(stream, "auto_credit", False)
    output = raw.send(headers(1), data(1, bytes(10)), data(1, b"x"), headers(3, end=True))
    assert resets_of(output) == [(1, Code.FLOW_CONTROL_ERROR)]
    assert raw.ledger.complete == [3]


def test_bodies_beyond_the_window_of_the_connection_end_it() -> None:
    raw = Raw(Http2Limits(connection_window_bytes=65_535))
    raw.ledger.set_up = lambda stream: setattr(stream, "auto_credit", False)
    output = raw.send(headers(1), data(1, bytes(65_535)), data(1, b"x"))
    gone = goaway_of(output)
    assert gone == (Code.FLOW_CONTROL_ERROR, b"the connection's window is exceeded")


def test_dropped_bodies_give_their_window_back() -> None:
    raw = Raw(Http2Limits(connection_window_bytes=65_535))
    raw.ledger.set_up = lambda stream: setattr(stream, "auto_credit", False)
    updates = 0
    for stream_id in range(1, 41, 2):
        output = raw.send(headers(stream_id), data(stream_id, bytes(10_000)))
        output += raw.send(frame(3, 0, stream_id, number(8)), data(stream_id, bytes(10_000)))
        updates += sum(int.from_bytes(p, "big") for kind, _, sid, p in output if kind == 8)
    assert updates > 300_000
    assert not raw.session.is_closed


def test_data_for_a_stream_that_has_ended_is_answered_with_a_reset_once() -> None:
    raw = Raw(answer=echo)
    raw.send(headers(1, end=True))
    assert resets_of(raw.send(data(1, b"x"), data(1, b"x"))) == [(1, Code.STREAM_CLOSED)]


def test_only_so_many_resets_are_remembered() -> None:
    raw = Raw(Http2Limits(max_remembered_resets=2))
    for stream_id in (1, 3, 5):
        raw.send(headers(stream_id))
        raw.stream(stream_id).reset()
    raw.output()
    output = raw.send(data(3, b"x"), data(5, b"x"), data(1, b"x"))
    assert resets_of(output) == [(1, Code.STREAM_CLOSED)]


def _pings(raw: Raw, count: int, every_s: float) -> tuple[int, bytes] | None:
    for _ in range(count):
        raw.clock.now += every_s
        gone = goaway_of(raw.send(PING))
        if gone is not None:
            return gone
    return None


def test_pings_without_requests_are_counted_as_grpc_does() -> None:
    raw = Raw()
    assert _pings(raw, 3, 301) is None
    assert _pings(raw, 1, 301) == (CALM, b"too_many_pings")


def test_pings_beside_a_request_may_come_every_five_minutes() -> None:
    raw = Raw()
    raw.send(headers(1))
    assert _pings(raw, 50, 301) is None
    assert _pings(raw, 3, 10) == (CALM, b"too_many_pings")


def test_pings_without_requests_may_be_permitted() -> None:
    raw = Raw(Http2Limits(permit_pings_without_calls=True, min_ping_interval_s=5))
    assert _pings(raw, 50, 6) is None


def test_an_answer_forgives_pings() -> None:
    raw = Raw(answer=echo)
    for stream_id in range(1, 41, 2):
        raw.send(headers(stream_id, end=True))
        assert _pings(raw, 3, 1) is None


def test_a_slow_upload_forgives_pings() -> None:
    raw = Raw()
    raw.send(headers(1))
    for _ in range(20):
        raw.send(data(1, b"x"))
        assert _pings(raw, 2, 10) is None


def test_any_number_of_pings_may_be_permitted() -> None:
    raw = Raw(Http2Limits(max_ping_strikes=0))
    assert _pings(raw, 50, 0.1) is None


def test_small_parts_of_a_body_that_nobody_waits_for_run_out_of_credit() -> None:
    raw = Raw(QUIET)
    raw.send(headers(1))
    raw.stream(1).refuse(HEAD)
    large = raw.send(*(data(1, bytes(256)) for _ in range(100)))
    assert goaway_of(large) is None
    output = raw.send(*(data(1, b"x") for _ in range(100)))
    assert goaway_of(output) == (CALM, b"too many frames that move nothing")


def test_changes_of_many_windows_cost_more_than_of_one() -> None:
    def frames_until_the_end(streams: int) -> int:
        raw = Raw(Http2Limits(control_burst=1000))
        raw.send(*(headers(2 * n + 1) for n in range(streams)))
        raw.session.tick(raw.clock())
        sent = 0
        while goaway_of(raw.send(setting(4, sent % 2 * 1000))) is None:
            sent += 1
        return sent

    assert frames_until_the_end(96) * 3 < frames_until_the_end(1)
