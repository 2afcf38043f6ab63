import math

import pytest
from tests.unit.transport.http2.talk import (
    GOOD,
    HEAD,
    TAIL,
    Raw,
    data,
    frame,
    goaway_of,
    headers,
    number,
    resets_of,
    setting,
)

from salver.transport.http2.frames import PREFACE, Code
from salver.transport.http2.limits import Http2Limits
from salver.transport.http2.watch import Watch

Output = list[tuple[int, int, int, bytes]]


class Timed(Raw):
    """A session that is swept every second of a clock of its own."""

    def __init__(self, limits: Http2Limits | None = None, *, greet: bool = True) -> None:
        super().__init__(limits, greet=False)
        self.watch = Watch(self.session, self.clock.now)
        self.output()
        if greet:
            self.send(PREFACE + frame(4, 0, 0) + frame(4, 1, 0))

    def wait(self, seconds: float) -> Output:
        output = []
        for _ in range(math.ceil(seconds)):
            self.clock.now += 1
            self.watch.sweep(self.clock.now)
            output += self.output()
        return output


@pytest.mark.parametrize("begin", [b"", PREFACE[:5], PREFACE, PREFACE + frame(4, 0, 0)[:7]])
def test_a_connection_has_little_time_to_begin(begin: bytes) -> None:
    raw = Timed(Http2Limits(preface_timeout_s=5), greet=False)
    raw.send(begin)
    assert raw.wait(4) == []
    assert goaway_of(raw.wait(1)) == (Code.PROTOCOL_ERROR, b"preface timeout")


def test_that_time_is_no_longer_than_a_head_may_take_since_the_socket_was_accepted() -> None:
    raw = Timed(Http2Limits(preface_timeout_s=5, header_timeout_s=50), greet=False)
    raw.watch = Watch(raw.session, raw.clock.now, accepted_s=raw.clock.now - 48)
    assert raw.wait(1) == []
    assert goaway_of(raw.wait(1)) == (Code.PROTOCOL_ERROR, b"preface timeout")


def test_who_begins_late_has_as_long_to_acknowledge_our_settings() -> None:
    raw = Timed(Http2Limits(settings_timeout_s=5, header_timeout_s=50), greet=False)
    raw.watch = Watch(raw.session, raw.clock.now, accepted_s=raw.clock.now - 48)
    raw.send(PREFACE + frame(4, 0, 0))
    assert raw.wait(4) == []
    assert goaway_of(raw.wait(1)) == (Code.SETTINGS_TIMEOUT, b"settings timeout")


def test_our_settings_must_be_acknowledged() -> None:
    raw = Timed(Http2Limits(settings_timeout_s=5), greet=False)
    raw.send(PREFACE + frame(4, 0, 0))
    assert raw.wait(4) == []
    assert goaway_of(raw.wait(1)) == (Code.SETTINGS_TIMEOUT, b"settings timeout")


def test_a_header_block_may_not_drip() -> None:
    raw = Timed(Http2Limits(header_timeout_s=20))
    wire = headers(1)
    gone = None
    for octet in wire[:30]:
        raw.send(bytes([octet]))
        gone = gone or goaway_of(raw.wait(1))
    assert gone == (Code.PROTOCOL_ERROR, b"header timeout")


def test_a_header_block_may_not_lack_its_end() -> None:
    raw = Timed(Http2Limits(header_timeout_s=20))
    raw.send(frame(1, 0, 1, GOOD))
    assert raw.wait(19) == []
    assert goaway_of(raw.wait(1)) == (Code.PROTOCOL_ERROR, b"header timeout")


def test_frames_that_arrive_always_cut_somewhere_are_no_drip() -> None:
    raw = Timed(Http2Limits(header_timeout_s=5))
    wire = b"".join(frame(77, 0, 0, bytes(11)) for _ in range(60))
    for start in range(0, len(wire), 21):
        raw.send(wire[start : start + 21])
        assert raw.wait(1) == []


def test_a_body_that_stops_ends_its_stream() -> None:
    raw = Timed(Http2Limits(body_timeout_s=10))
    raw.send(headers(1), data(1, bytes(2000)), headers(3, end=True))
    output = raw.wait(12)
    assert resets_of(output) == [(1, Code.CANCEL)]
    assert raw.ledger.gone == [1]
    assert [stream.id for stream in raw.session.streams] == [3]


def test_a_body_that_moves_may_take_its_time() -> None:
    raw = Timed(Http2Limits(body_timeout_s=10, min_body_progress_bytes=50))
    raw.send(headers(1))
    for _ in range(20):
        raw.send(data(1, bytes(50)))
        assert raw.wait(8) == []
    for _ in range(2):
        raw.send(data(1, bytes(10)))
        raw.wait(8)
    assert raw.ledger.gone == [1]


def test_a_body_that_waits_for_us_is_not_late() -> None:
    raw = Timed(Http2Limits(body_timeout_s=10))
    raw.ledger.set_up = lambda stream: setattr(stream, "auto_credit", False)
    raw.send(headers(1), data(1, bytes(100)))
    assert raw.wait(100) == []
    raw.stream().credit(100)
    assert resets_of(raw.wait(11)) == [(1, Code.CANCEL)]


def test_a_patient_stream_is_not_timed() -> None:
    raw = Timed()
    raw.ledger.set_up = lambda stream: setattr(stream, "is_untimed", True)
    raw.send(setting(4, 0), headers(1))
    raw.stream().send_head(HEAD)
    raw.stream().send_data(b"x")
    raw.output()
    assert raw.wait(1000) == []


def test_an_answer_that_no_window_lets_through_ends_its_stream() -> None:
    raw = Timed(Http2Limits(write_timeout_s=10))
    raw.send(setting(4, 10), headers(1, end=True))
    raw.stream().respond(HEAD, bytes(1000), TAIL)
    raw.output()
    assert raw.wait(8) == []
    raw.send(frame(8, 0, 1, number(300)))
    assert raw.wait(8) == []
    assert resets_of(raw.wait(4)) == [(1, Code.CANCEL)]
    assert not raw.session.out.waiting


def test_window_by_the_octet_holds_no_answer_for_long_and_many_small_ones_let_it_through() -> None:
    for window, times, reset in ((2, 20, [(1, Code.CANCEL)]), (100, 20, [])):
        raw = Timed(Http2Limits(write_timeout_s=10))
        raw.send(setting(4, 0), headers(1, end=True))
        raw.stream().respond(HEAD, bytes(1 << 20), TAIL)
        output = []
        for _ in range(times):
            raw.send(frame(8, 0, 1, number(window)))
            output += raw.wait(1)
        assert resets_of(output) == reset


def test_an_idle_connection_stays_for_ever_by_default() -> None:
    raw = Timed()
    assert raw.wait(20_000) == []


def test_a_silent_client_is_pinged_and_given_up() -> None:
    raw = Timed(Http2Limits(keepalive_time_s=30, keepalive_timeout_s=5))
    raw.send(headers(1, end=True))
    assert raw.wait(29) == []
    ((kind, flags, _, payload),) = raw.wait(2)
    assert (kind, flags) == (6, 0)
    raw.send(frame(6, 1, 0, payload))
    assert raw.wait(28) == []
    assert [kind for kind, _, _, _ in raw.wait(5)] == [6]
    assert goaway_of(raw.wait(5)) == (Code.NO_ERROR, b"keepalive timeout")
    assert raw.ledger.gone == [1]


def test_without_requests_it_is_pinged_if_that_is_permitted() -> None:
    limits = Http2Limits(keepalive_time_s=30, permit_pings_without_calls=True)
    assert [kind for kind, _, _, _ in Timed(limits).wait(31)] == [6]


def test_an_unused_connection_ends_after_its_time() -> None:
    raw = Timed(Http2Limits(max_connection_idle_s=30, drain_ping_timeout_s=3))
    raw.send(headers(1, end=True))
    assert raw.wait(100) == []
    raw.stream().respond(HEAD, b"", TAIL)
    raw.output()
    assert [kind for kind, _, _, _ in raw.wait(31)] == [7, 6]
    raw.wait(4)
    assert raw.session.is_done


def test_an_old_connection_ends_when_its_requests_have() -> None:
    raw = Timed(Http2Limits(max_connection_age_s=30, drain_ping_timeout_s=3))
    raw.send(headers(1, end=True))
    assert raw.wait(29) == []
    assert [kind for kind, _, _, _ in raw.wait(10)] == [7, 6, 7]
    raw.wait(100)
    assert not raw.session.is_done
    raw.stream().respond(HEAD, b"", TAIL)
    assert raw.session.is_done


def test_the_grace_of_an_old_connection_ends_too() -> None:
    raw = Timed(Http2Limits(max_connection_age_s=30, max_connection_age_grace_s=10))
    raw.send(headers(1, end=True))
    assert goaway_of(raw.wait(45)[-1:]) == (Code.NO_ERROR, b"max age")
    assert raw.ledger.gone == [1]
