"""Plain requests by HTTP/2, before the handler of an HTTP/1.1 server."""

import asyncio
import gc
import gzip
import itertools
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.transport.http2.asking import Asking
from tests.unit.transport.parts import Parts

from salver.transport.heads import Refusal, RequestHead
from salver.transport.http2.requests import HttpRequests
from salver.transport.limits import HttpLimits
from salver.transport.messages import HttpRequest, HttpResponse, LargeResponse
from salver.transport.service import AccessRecord, Service

HEAD = [(":method", "POST"), (":scheme", "http"), (":path", "/a?b=c"), (":authority", "here:80")]


class Served:
    """A handler, and what it and the access log were told."""

    def __init__(self, answer: Callable[[HttpRequest], Any], **limits: int) -> None:
        self.requests: list[HttpRequest] = []
        self.records: list[AccessRecord] = []
        self._answer = answer
        self.now = 0.0
        self.service = Service(
            self._handle,
            error_page=lambda status, text, hint: HttpResponse(status, text.encode(), "text/plain"),
            limits=HttpLimits(**limits),
            access=self.records.append,
            clock=lambda: self.now,
            run_in_pool=self._in_pool,
        )
        self.asking = Asking(HttpRequests(self.service))

    def _handle(self, request: HttpRequest) -> Any:
        self.requests.append(request)
        return self._answer(request)

    async def _in_pool(self, call: Callable[[], Any], size: int = 0) -> Any:
        await asyncio.sleep(0)
        return call()


def echo(request: HttpRequest) -> HttpResponse:
    headers = (("Salver-Model-Version", "7"), ("Connection", "close"))
    return HttpResponse(200, request.body, "text/x", headers)


def changed(**fields: str) -> list[tuple[str, str]]:
    return [(name, fields.get(name.strip(":"), value)) for name, value in HEAD]


def test_a_request_is_handled_as_one_of_http1() -> None:
    served = Served(echo)
    answer = served.asking.ask([*HEAD, ("user-agent", "me"), ("x-y", "1: 2")], b"body")
    (request,) = served.requests
    assert (request.method, request.target, request.body) == ("POST", "/a?b=c", b"body")
    assert request.peer == "127.0.0.1"
    assert request.headers.pairs == [
        (b"host", b"here:80"), (b"user-agent", b"me"), (b"x-y", b"1: 2")
    ]  # fmt: skip
    assert (answer.body, answer.is_over, answer.trailers) == (b"body", True, {})
    assert answer.head == {
        ":status": "200",
        "content-type": "text/x",
        "salver-model-version": "7",
        "date": "Thu, 01 Jan 1970 00:00:00 GMT",
        "content-length": "4",
    }
    (record,) = served.records
    assert (record.method, record.target, record.status) == ("POST", "/a?b=c", 200)
    assert (record.bytes_in, record.bytes_out, record.user_agent) == (4, 4, "me")


def test_the_date_goes_with_the_clock() -> None:
    served = Served(echo)
    assert served.asking.ask(HEAD, b"a").head["date"].endswith("00:00:00 GMT")
    served.now = 61.5
    assert served.asking.ask(HEAD, b"a").head["date"].endswith("00:01:01 GMT")


def test_a_body_comes_in_any_parts() -> None:
    served = Served(echo)
    stream = served.asking.begin(HEAD)
    for part in (b"", b"a", b"b", bytes(5000), b"c"):
        assert not served.asking.send(stream, part).is_over
    assert served.asking.send(stream, b"", is_last=True).body == b"ab" + bytes(5000) + b"c"


def test_the_answer_to_head_has_no_body() -> None:
    served = Served(lambda _request: HttpResponse(200, b"some", None))
    answer = served.asking.ask(changed(method="HEAD"))
    assert (answer.body, answer.head["content-length"], answer.is_over) == (b"", "4", True)
    assert "content-type" not in answer.head


def test_a_body_over_the_limit_is_refused_at_its_end_or_when_that_is_far() -> None:
    served = Served(echo, max_body_bytes=10)
    stream = served.asking.begin(HEAD)
    assert not served.asking.send(stream, bytes(10)).is_over
    assert not served.asking.send(stream, b"1").is_over
    answer = served.asking.send(stream, b"", is_last=True)
    assert answer.head[":status"] == "413"
    assert answer.body == b"Request body is larger than 10 bytes"
    far = (1 << 20) + 11
    assert served.asking.ask([*HEAD, ("content-length", str(far))], b"1").head[":status"] == "413"
    stream = served.asking.begin(HEAD)
    for _ in range(64):
        answer = served.asking.send(stream, bytes(16_384))
    assert not answer.is_over
    assert served.asking.send(stream, bytes(11)).head[":status"] == "413"
    assert served.requests == []
    assert [record.status for record in served.records] == [413] * 3


@pytest.mark.parametrize(
    ("fields", "status"),
    [(changed(method="BREW"), "501"), (changed(path="/%zz"), "400")],
)
def test_what_is_no_request_here_is_refused(fields: list[tuple[str, str]], status: str) -> None:
    served = Served(echo)
    assert served.asking.ask(fields, b"a").head[":status"] == status
    assert served.records[0].method == ""


@pytest.mark.parametrize(
    ("authority", "hosts", "message"),
    [
        ("", [], "the request has no Host field"),
        ("", ["a", "a"], "the request has more than one Host field"),
        ("a b", [], "the Host field is not NAME[:PORT]"),
        ("me@a", [], "the Host field is not NAME[:PORT]"),
        ("", ["a/b"], "the Host field is not NAME[:PORT]"),
    ],
)
def test_a_request_that_does_not_say_once_whom_it_is_for_is_refused(
    authority: str, hosts: list[str], message: str
) -> None:
    served = Served(echo)
    served.asking.client.config.validate_outbound_headers = False
    fields = [field for field in HEAD if field[0] != ":authority"]
    if authority:
        fields.append((":authority", authority))
    answer = served.asking.ask([*fields, *(("host", host) for host in hosts)], b"a")
    assert (answer.head[":status"], answer.body) == ("400", f"Bad Request: {message}".encode())
    assert served.requests == []


def test_a_request_may_say_whom_it_is_for_as_those_of_http1_do() -> None:
    served = Served(echo)
    fields = [field for field in HEAD if field[0] != ":authority"]
    assert served.asking.ask([*fields, ("host", "here:80")], b"a").head[":status"] == "200"
    assert served.requests[0].headers.get(b"host") == b"here:80"


def test_who_is_not_admitted_is_refused_and_recorded_and_who_is_is_asked_about_once() -> None:
    asked = []

    def admit(head: RequestHead) -> None:
        asked.append(head.authority)
        if head.authority != b"here:80":
            raise Refusal(403, "no")

    served = Served(echo)
    served.service.admit = admit
    for _ in range(2):
        assert served.asking.ask(HEAD, b"a").head[":status"] == "200"
        answer = served.asking.ask(changed(authority="evil.example"), b"a")
        assert (answer.head[":status"], answer.body) == ("403", b"no")
    assert asked == [b"here:80", b"evil.example", b"evil.example"]
    assert [(record.target, record.status) for record in served.records] == [
        ("/a?b=c", 200), ("/a?b=c", 403)
    ] * 2  # fmt: skip


def not_admitting() -> Served:
    def admit(_head: RequestHead) -> None:
        raise Refusal(403, "no")

    served = Served(echo)
    served.service.admit = admit
    return served


def test_who_is_not_admitted_is_told_so_when_the_body_has_come() -> None:
    asking = not_admitting().asking
    stream = asking.begin(HEAD)
    assert not asking.send(stream, b"a").is_over
    answer = asking.send(stream, b"b", is_last=True)
    assert (answer.head[":status"], answer.body) == ("403", b"no")


def test_a_large_body_of_who_is_not_admitted_is_not_waited_for() -> None:
    asking = not_admitting().asking
    stream = asking.begin(HEAD)
    assert not asking.send(stream, bytes(1 << 20)).is_over
    answer = asking.send(stream, b"a")
    assert (answer.head[":status"], answer.body) == ("403", b"no")
    declared = asking.begin([*HEAD, ("content-length", "1000000000000")])
    assert asking.answers[declared].head[":status"] == "403"


async def test_a_gzipped_body_is_inflated() -> None:
    served = Served(echo, max_inflated_bytes=100)
    fields = [*HEAD, ("content-encoding", "gzip")]
    for inflated, status in ((b"x" * 100, "200"), (b"x" * 101, "413")):
        answer = served.asking.ask(fields, gzip.compress(inflated))
        await served.asking.until_over(answer)
        await served.asking.until(lambda: served.service.in_flight == 0)
        assert answer.head[":status"] == status
    assert answer.body.startswith(b"Request body is larger than 100 bytes once inflated")


async def test_an_answer_may_come_later_to_a_gzipped_body_too() -> None:
    async def later(request: HttpRequest) -> HttpResponse:
        await asyncio.sleep(0)
        return echo(request)

    served = Served(later)
    for more, body in (([], b"a"), ([("content-encoding", "gzip")], gzip.compress(b"a"))):
        answer = served.asking.ask([*HEAD, *more], body)
        assert served.service.in_flight == 1
        await served.asking.until_over(answer)
        assert answer.body == b"a"
        await served.asking.until(lambda: served.service.in_flight == 0)


async def test_a_handler_that_breaks_is_logged_and_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(_request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    async def broken_later(_request: HttpRequest) -> HttpResponse:
        raise ZeroDivisionError

    for handler in (broken, broken_later):
        served = Served(handler)
        answer = served.asking.ask(HEAD, b"a")
        await served.asking.until_over(answer)
        assert answer.head[":status"] == "500"
    assert [record.message for record in caplog.records] == [
        "The handler of a request has failed."
    ] * 2


async def test_a_request_that_there_is_no_memory_for_is_refused_in_words() -> None:
    def starve(_request: HttpRequest) -> HttpResponse:
        raise MemoryError("no room")

    async def starve_later(_request: HttpRequest) -> HttpResponse:
        raise MemoryError("no room")

    for handler in (starve, starve_later):
        served = Served(handler)
        answer = served.asking.ask(HEAD, b"a")
        await served.asking.until_over(answer)
        assert (answer.head[":status"], answer.body) == ("429", b"Out of memory: no room")


async def test_a_body_that_there_is_no_memory_for_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full(bytearray):
        def __iadd__(self, more: object) -> "Full":
            raise MemoryError

    monkeypatch.setattr("salver.transport.http2.requests.bytearray", Full, raising=False)
    served = Served(echo)
    stream = served.asking.begin(HEAD)
    for part in (b"a", b"b"):
        answer = served.asking.send(stream, part)
    assert (answer.head[":status"], answer.body) == ("429", b"Out of memory")
    assert served.requests == []


async def test_a_large_answer_is_sent_part_by_part() -> None:
    parts = [b"a" * LargeResponse.SMALLEST_BYTES, b"bc", b"d" * 100]
    served = Served(lambda _request: LargeResponse(200, parts))
    answer = served.asking.ask(HEAD, b"a")
    assert answer.head["content-length"] == str(len(b"".join(parts)))
    for _ in range(100):
        if not answer.is_over:
            served.asking.client.increment_flow_control_window(60_000)
            served.asking.client.increment_flow_control_window(60_000, stream_id=1)
            served.asking.exchange()
    assert answer.body == b"".join(parts)
    (record,) = served.records
    assert record.bytes_out == len(answer.body)


async def test_what_a_client_that_leaves_had_asked_for_goes_with_it() -> None:
    class Held(list[int]):
        pass

    kept: list[weakref.ref[Held]] = []

    async def wait(_request: HttpRequest) -> HttpResponse:
        held = Held(range(23))
        kept.append(weakref.ref(held))
        await asyncio.Event().wait()
        raise AssertionError(held)

    served = Served(wait)
    gc.disable()
    try:
        stream = served.asking.begin(HEAD)
        served.asking.send(stream, b"a", is_last=True)
        await served.asking.until(lambda: bool(kept))
        served.asking.client.reset_stream(stream)
        served.asking.exchange()
        await served.asking.until(lambda: served.service.in_flight == 0)
        assert kept[0]() is None
    finally:
        gc.enable()


async def test_a_client_that_leaves_cancels_the_handler_and_is_recorded() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(_request: HttpRequest) -> HttpResponse:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    served = Served(wait)
    stream = served.asking.begin(HEAD)
    served.asking.send(stream, b"a", is_last=True)
    await began.wait()
    served.asking.client.reset_stream(stream)
    served.asking.exchange()
    await asyncio.wait_for(cancelled.wait(), 10)
    await served.asking.until(lambda: served.service.in_flight == 0)
    assert [record.status for record in served.records] == [499]


async def test_one_that_leaves_before_its_request_is_whole_is_forgotten() -> None:
    served = Served(echo)
    stream = served.asking.begin(HEAD)
    served.asking.send(stream, b"a")
    served.asking.client.reset_stream(stream)
    served.asking.exchange()
    assert (served.requests, served.records) == ([], [])


async def test_work_that_somebody_else_gives_up_resets_the_stream() -> None:
    async def given_up(_request: HttpRequest) -> HttpResponse:
        raise asyncio.CancelledError

    served = Served(given_up)
    answer = served.asking.ask(HEAD, b"a")
    await served.asking.until(lambda: answer.reset is not None)
    assert served.service.in_flight == 0


async def test_an_answer_that_is_sent_while_it_is_made() -> None:
    parts = Parts([b"one", b"", b"two"])
    served = Served(parts.answer)
    answer = served.asking.ask(HEAD, b"a")
    await served.asking.until_over(answer)
    assert (answer.body, answer.trailers) == (b"onetwo", {})
    assert "content-length" not in answer.head
    assert (answer.head["a"], answer.head["c"]) == ("b", "d")
    (record,) = served.records
    assert (record.status, record.bytes_out) == (200, 6)
    await asyncio.sleep(0)
    assert served.service.in_flight == 0


async def test_such_an_answer_is_made_no_faster_than_windows_allow() -> None:
    parts = Parts(itertools.repeat(bytes(10_000)))
    served = Served(parts.answer)
    stream = served.asking.begin(HEAD, is_last=True)
    for _ in range(50):
        await asyncio.sleep(0)
    assert parts.made == 7  # 65,535 bytes, and what waits
    served.asking.client.reset_stream(stream)
    served.asking.exchange()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert parts.is_closed
    assert served.service.in_flight == 0
    (record,) = served.records
    assert (record.status, record.bytes_out) == (200, 70_000)


async def test_such_an_answer_that_fails_midway_is_reset() -> None:
    served = Served(Parts([b"one", RuntimeError("no more")]).answer)
    answer = served.asking.ask(HEAD, b"a")
    await served.asking.until(lambda: answer.reset is not None)
    assert answer.body == b"one"
    assert not answer.is_over


async def test_such_an_answer_to_who_wants_the_head_alone() -> None:
    parts = Parts([b"one"])
    served = Served(parts.answer)
    answer = served.asking.ask(changed(method="HEAD"))
    await served.asking.until_over(answer)
    assert (answer.body, parts.made) == (b"", 0)
    assert answer.head[":status"] == "200"
