import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import trustme
from tests.unit.peers.scripted import WAIT_S, Scripted, read_request, scripted, until

from salver.peers.http1 import RestOverHttp1
from salver.peers.map import Peer
from salver.peers.transports import HopFailed, Late, Lost, NotBegun, Refused
from salver.transport.messages import Headers, HttpRequest, HttpResponse, StreamedResponse
from salver.transport.tls import client_context, server_context

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
MARK = ((b"salver-forwarded", b"n1"),)


@pytest.fixture
async def rest() -> AsyncIterator[RestOverHttp1]:
    made = RestOverHttp1(most_connections=2, connect_timeout_s=5.0)
    yield made
    await made.close()


def post(body: bytes = b"{}", raw: bytes = b"") -> HttpRequest:
    return HttpRequest("POST", "/v1/models/m:predict", Headers(raw), body)


async def ask(
    rest: RestOverHttp1, made: Scripted, request: HttpRequest | None = None, **more: Any
) -> HttpResponse:
    timeout_s = more.get("timeout_s", WAIT_S)
    return await rest(made.peer, request or post(), MARK, timeout_s)


async def test_an_answer_comes_back_as_it_is_and_the_connection_is_kept(
    rest: RestOverHttp1,
) -> None:
    async with scripted(OK) as made:
        for _ in range(3):
            answer = await ask(rest, made)
            assert (answer.status, answer.content_type, answer.body) == (200, "text/plain", b"ok")
        assert made.connections == 1
        assert rest.connections() == {made.peer.rest: 1}


async def test_a_request_goes_on_with_its_own_fields_but_those_of_hops(
    rest: RestOverHttp1,
) -> None:
    raw = (
        b"Host: me\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\nTE: gzip\r\n"
        b"Content-Encoding: gzip\r\nContent-Length: 99\r\nOrigin: http://page\r\n"
        b"Salver-Forwarded: n9\r\nsalver-peer-token: guessed\r\nsalver-principal: [1]\r\n"
        b"Expect: 100-continue\r\nUpgrade: h2c\r\nX-Kept:  a b \r\nAuthorization: Bearer k\r\n"
    )
    async with scripted(OK) as made:
        await ask(rest, made, post(b"\x00body", raw))
        lines = made.heads[0].split(b"\r\n")
    assert lines[0] == b"POST /v1/models/m:predict HTTP/1.1"
    assert set(filter(None, lines[1:])) == {
        b"host: " + made.peer.rest.encode(),
        b"x-kept: a b",
        b"authorization: Bearer k",
        b"salver-forwarded: n1",
        b"Content-Length: 5",
    }
    assert made.bodies == [b"\x00body"]


async def test_the_span_of_this_server_stands_before_that_of_the_client(
    rest: RestOverHttp1,
) -> None:
    fields = (*MARK, (b"traceparent", b"00-mine-01"))
    async with scripted(OK) as made:
        await rest(made.peer, post(b"", b"traceparent: 00-theirs-01\r\n"), fields, WAIT_S)
        await rest(made.peer, post(b"", b"traceparent: 00-theirs-01\r\n"), MARK, WAIT_S)
    assert [head.count(b"traceparent") for head in made.heads] == [1, 1]
    assert b"00-mine-01" in made.heads[0]
    assert b"00-theirs-01" in made.heads[1]


async def test_what_is_of_the_connection_or_added_here_stays_behind_in_answers(
    rest: RestOverHttp1,
) -> None:
    answer = (
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nDate: x\r\nConnection: X-Hop\r\n"
        b"X-Hop: 1\r\n"
        b"Access-Control-Allow-Origin: *\r\nSalver-Model-Version: 3\r\nX-Two: a\r\nX-Two: b\r\n\r\n"
    )
    async with scripted(answer) as made:
        found = await ask(rest, made)
    assert found.status == 404
    assert found.headers == (("Salver-Model-Version", "3"), ("X-Two", "a"), ("X-Two", "b"))


async def test_interim_answers_are_passed_over(rest: RestOverHttp1) -> None:
    async with scripted(b"HTTP/1.1 100 Continue\r\n\r\n" + OK) as made:
        assert (await ask(rest, made)).body == b"ok"


async def test_a_head_is_asked_for_as_get(rest: RestOverHttp1) -> None:
    async with scripted(OK) as made:
        assert (await ask(rest, made, HttpRequest("HEAD", "/v2/models/m"))).body == b"ok"
        assert made.heads[0].startswith(b"GET /v2/models/m HTTP/1.1\r\n")
        assert b"Content-Length" not in made.heads[0]


async def test_a_peer_that_is_not_there_has_begun_nothing(rest: RestOverHttp1) -> None:
    async with scripted(OK) as made:
        pass
    with pytest.raises(NotBegun, match="no connection"):
        await ask(rest, made)
    with pytest.raises(NotBegun):
        await rest(Peer("p", "no-such-host.invalid:1"), post(), MARK, WAIT_S)
    assert rest.connections() == {}


async def test_a_peer_that_closes_before_it_has_the_request_has_begun_nothing(
    rest: RestOverHttp1,
) -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        writer.transport.abort()

    async with scripted(close) as made:
        with pytest.raises(NotBegun, match="closed the connection"):
            await ask(rest, made, post(b"x" * (64 << 20)))


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200", OK[:-1]])
async def test_a_peer_that_closes_after_that_may_have_begun(
    rest: RestOverHttp1, sent: bytes
) -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(sent)

    async with scripted(close) as made:
        with pytest.raises(Lost, match=r"closed the connection|broken off"):
            await ask(rest, made)


async def test_a_get_that_was_not_answered_may_be_sent_again(rest: RestOverHttp1) -> None:
    async def close(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await read_request(reader)

    async with scripted(close) as made:
        with pytest.raises(NotBegun):
            await ask(rest, made, HttpRequest("GET", "/v1/models/m"))


@pytest.mark.parametrize(
    "garbage",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 1000,
        OK + OK,
    ],
)
async def test_garbage_is_no_answer_and_ends_the_connection(
    rest: RestOverHttp1, garbage: bytes
) -> None:
    async with scripted(garbage) as made:
        with pytest.raises(Lost, match="cannot be read"):
            await ask(rest, made)
        await asyncio.wait_for(made.left.wait(), WAIT_S)


async def test_a_peer_that_hangs_is_left_when_the_time_is_over(rest: RestOverHttp1) -> None:
    async with scripted(b"") as made:
        with pytest.raises(Late):
            await ask(rest, made, timeout_s=0.05)
        await asyncio.wait_for(made.left.wait(), WAIT_S)


async def test_a_peer_that_trickles_is_left_when_the_time_is_over(rest: RestOverHttp1) -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.04)

    async with scripted(trickle) as made:
        with pytest.raises(Late):
            await ask(rest, made, timeout_s=0.2)


async def test_who_gives_up_resets_the_connection(rest: RestOverHttp1) -> None:
    async with scripted(b"") as made:
        asking = asyncio.ensure_future(ask(rest, made))
        await until(lambda: made.heads)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await asyncio.wait_for(made.left.wait(), WAIT_S)


async def test_an_answer_without_a_length_is_handed_on_while_it_comes(
    rest: RestOverHttp1,
) -> None:
    go_on = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            await read_request(reader)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
            )
            await go_on.wait()
            writer.write(b"4\r\nlast\r\n0\r\n\r\n")

    async with scripted(stream) as made:
        for _ in range(2):
            answer = await ask(rest, made)
            assert isinstance(answer, StreamedResponse)
            assert (answer.length, answer.probe) == (None, b":\n\n")
            async with aclosing(answer.parts) as parts:
                assert await anext(parts) == b"first"
                go_on.set()
                assert [part async for part in parts] == [b"last"]
                go_on.clear()
        assert made.connections == 1


async def test_a_long_answer_is_handed_on_in_parts_and_says_its_length(
    rest: RestOverHttp1,
) -> None:
    body = bytes(range(256)) * 8192
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with scripted(head + body) as made:
        answer = await ask(rest, made)
        assert isinstance(answer, StreamedResponse)
        assert answer.length == len(body)
        assert b"".join([part async for part in answer.parts]) == body


async def test_an_endless_body_that_nobody_reads_is_not_gathered(rest: RestOverHttp1) -> None:
    is_stuck = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        while True:
            writer.write(chunk)
            drained = asyncio.ensure_future(writer.drain())
            if not (await asyncio.wait({drained}, timeout=0.3))[0]:
                is_stuck.set()  # it can send no more
            await drained

    async with scripted(flood) as made:
        answer = await ask(rest, made)
        assert isinstance(answer, StreamedResponse)
        await asyncio.wait_for(is_stuck.wait(), 30)
        part = await anext(answer.parts)
        assert len(part) < 2 << 20
        await answer.parts.aclose()


async def test_a_peer_that_breaks_off_in_a_stream_fails_it(rest: RestOverHttp1) -> None:
    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")

    async with scripted(breaks) as made:
        answer = await ask(rest, made)
        assert isinstance(answer, StreamedResponse)
        with pytest.raises(Lost):
            _ = [part async for part in answer.parts]


async def test_a_stream_that_is_closed_before_it_was_read_ends_at_the_peer(
    rest: RestOverHttp1,
) -> None:
    left = asyncio.Event()

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        try:
            await reader.read()
        except ConnectionError:
            left.set()

    async with scripted(stream) as made:
        answer = await ask(rest, made)
        assert isinstance(answer, StreamedResponse)
        await answer.parts.aclose()
        await asyncio.wait_for(left.wait(), WAIT_S)
        assert rest.connections() == {}


async def test_a_connection_that_was_closed_while_it_was_idle_is_not_used(
    rest: RestOverHttp1,
) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)

    async with scripted(once) as made:
        for _ in range(20):
            assert (await ask(rest, made)).body == b"ok"


async def test_what_a_peer_says_unasked_ends_its_connection(rest: RestOverHttp1) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(OK)
        await reader.read()

    async with scripted(talk) as made:
        assert (await ask(rest, made)).body == b"ok"
        await until(lambda: not rest.connections())
        assert (await ask(rest, made)).body == b"ok"


async def test_no_more_connections_are_made_than_may_be(rest: RestOverHttp1) -> None:
    async with scripted(OK) as made:
        answers = await asyncio.gather(*(ask(rest, made) for _ in range(50)))
        assert [answer.body for answer in answers] == [b"ok"] * 50
        assert made.connections <= 2


async def test_who_waits_for_a_connection_waits_no_longer_than_its_time(
    rest: RestOverHttp1,
) -> None:
    async with scripted(b"") as made:
        hung = [asyncio.ensure_future(ask(rest, made)) for _ in range(2)]
        await until(lambda: len(made.heads) >= 2)
        with pytest.raises(Late):
            await ask(rest, made, timeout_s=0.05)
        waiting = asyncio.ensure_future(ask(rest, made))
        await asyncio.sleep(0)
        waiting.cancel()
        for each in hung:
            each.cancel()
        await asyncio.gather(waiting, *hung, return_exceptions=True)
        last = asyncio.ensure_future(ask(rest, made))
        await until(lambda: len(made.heads) >= 3)  # there is room again
        last.cancel()
        await asyncio.gather(last, return_exceptions=True)


async def test_a_peer_that_does_not_take_the_token_has_begun_nothing(
    rest: RestOverHttp1,
) -> None:
    answer = b"HTTP/1.1 401 No\r\nsalver-peer-refused: token\r\nContent-Length: 0\r\n\r\n"
    async with scripted(answer) as made:
        with pytest.raises(Refused):
            await ask(rest, made)


@pytest.mark.parametrize(
    "request_",
    [
        HttpRequest("POST", "/x\r\nHost: y", Headers(b"")),
        HttpRequest("POST", "http://other/x", Headers(b"")),
        HttpRequest("POST", "/x", Headers(b"x: a\nb: c\r\n")),
        HttpRequest("POST", "/x", Headers(b"a b: c\r\n")),
    ],
)
async def test_what_would_become_another_request_is_not_sent(
    rest: RestOverHttp1, request_: HttpRequest
) -> None:
    async with scripted(OK) as made:
        with pytest.raises(NotBegun, match="cannot be sent on"):
            await ask(rest, made, request_)
        assert made.connections == 0


class Tls:
    """An authority, a peer's certificate of it, and one that this server shows."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self.pem = self.authority.cert_pem.bytes().decode()

    def peer(self, host: str = "127.0.0.1") -> ssl.SSLContext:
        key, cert = self.issued(host)
        return server_context(
            server_key=key, server_cert=cert, custom_ca=self.pem, client_verify=True
        )

    def own(self, *, shows: bool = True, ca: str = "") -> RestOverHttp1:
        key, cert = self.issued("node.cluster") if shows else ("", "")
        context = client_context(key=key, cert=cert, custom_ca=ca or self.pem)
        return RestOverHttp1(most_connections=2, connect_timeout_s=5.0, tls=context)

    def issued(self, name: str) -> tuple[str, str]:
        made = self.authority.issue_cert(name)
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        return made.private_key_pem.bytes().decode(), chain.decode()


async def test_a_secure_connection_shows_a_certificate_and_is_kept() -> None:
    tls = Tls()
    rest = tls.own()
    async with scripted(OK, tls=tls.peer()) as made:
        for _ in range(3):
            assert (await ask(rest, made)).body == b"ok"
        assert made.connections == 1
        await rest.close()


@pytest.mark.parametrize("fault", ["another authority", "another name", "plain text"])
async def test_a_peer_that_cannot_prove_who_it_is_is_sent_nothing(fault: str) -> None:
    tls = Tls()
    rest = tls.own(ca=Tls().pem if fault == "another authority" else "")
    peer = (
        None if fault == "plain text" else tls.peer("10.9.9.9" if "name" in fault else "127.0.0.1")
    )
    async with scripted(OK, tls=peer) as made:
        with pytest.raises(NotBegun, match="no connection"):
            await ask(rest, made, timeout_s=WAIT_S)
        assert made.heads == []
        await rest.close()


async def test_a_peer_that_wants_a_certificate_and_gets_none_has_begun_nothing_to_answer() -> None:
    tls = Tls()
    rest = tls.own(shows=False)
    async with scripted(OK, tls=tls.peer()) as made:
        with pytest.raises(HopFailed):
            await ask(rest, made)
        assert made.heads == []
        await rest.close()
