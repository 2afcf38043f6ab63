from collections.abc import Awaitable, Callable
from typing import Any

from salver.transport.heads import parse_head
from salver.transport.http1.responses import KEEP_ALIVE
from salver.transport.limits import HttpLimits
from salver.transport.messages import HttpResponse
from salver.transport.service import AccessRecord, Service


class Clock:
    now = 0.0
    reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return self.now


def never(work: Callable[[], Any], size: int = 0) -> Awaitable[Any]:
    raise AssertionError


def service(
    clock: Clock, monotonic: Clock, access: Callable[[AccessRecord], None] | None
) -> Service:
    return Service(
        lambda request: HttpResponse(200),
        error_page=lambda status, message, hint: HttpResponse(status),
        limits=HttpLimits(),
        access=access,
        clock=clock,
        run_in_pool=never,
        monotonic=monotonic,
    )


def test_the_clocks_are_read_when_told_to() -> None:
    clock, monotonic = Clock(), Clock()
    shared = service(clock, monotonic, None)
    clock.now, monotonic.now = 1.0, 5.0
    assert shared.tick == 0.0
    shared.refresh()
    assert shared.tick == 5.0
    assert b"00:00:01 GMT" in shared.response_heads.render(KEEP_ALIVE, 200, None, ())


def test_an_answer_is_recorded_with_the_version_that_gave_it() -> None:
    records: list[AccessRecord] = []
    clock, monotonic = Clock(), Clock()
    shared = service(clock, monotonic, records.append)
    clock.now, monotonic.now = 100.0, 5.0
    head = parse_head(b"POST /a HTTP/1.1\r\nHost: a\r\nUser-Agent: \xe9\r\n\r\n", 10)
    answer = HttpResponse(200, b"four", headers=(("salver-model-version", "7"),))
    shared.record(head, answer, "127.0.0.1", 3, 4.5)
    assert records == [
        AccessRecord(
            time=100.0,
            remote="127.0.0.1",
            method="POST",
            target="/a",
            status=200,
            bytes_in=3,
            bytes_out=4,
            seconds=0.5,
            model_version="7",
            user_agent="é",
        )
    ]


def test_an_answer_to_head_has_no_bytes() -> None:
    records: list[AccessRecord] = []
    shared = service(Clock(), Clock(), records.append)
    shared.record(
        parse_head(b"HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n", 9), HttpResponse(200, b"x"), None, 0, 0.0
    )
    assert (records[0].bytes_out, records[0].user_agent) == (0, None)


def test_what_was_not_understood_is_recorded_without_a_method() -> None:
    records: list[AccessRecord] = []
    shared = service(Clock(), Clock(), records.append)
    shared.record(None, HttpResponse(400, b"x"), None, 0, 0.0)
    assert (records[0].method, records[0].target, records[0].bytes_out) == ("", "", 1)


def test_without_a_log_an_answer_costs_no_look_at_the_clock() -> None:
    clock, monotonic = Clock(), Clock()
    shared = service(clock, monotonic, None)
    before = clock.reads, monotonic.reads
    shared.record(None, HttpResponse(400), None, 0, 0.0)
    assert (clock.reads, monotonic.reads) == before
