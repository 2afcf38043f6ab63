import asyncio

import pytest
from tests.unit.bench.conftest import ScriptedServer, answer_bytes

from salver.bench.http_lines import HttpLines, error_text, http_request
from salver.bench.lines import Line
from salver.client.address import parse_address
from salver.errors import Unavailable

Said = tuple[str, str, int]


async def ask(line: Line, request: bytes) -> Said:
    said: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
    line.send(request, lambda *result: said.set_result(result))
    assert not said.done()
    return await asyncio.wait_for(said, 10)


def test_a_request_has_the_path_of_the_server_before_its_own() -> None:
    address = parse_address("http://user:secret@h:81/prefix")
    assert http_request(address, "/v1/models/m:predict", b"{}") == (
        b"POST /prefix/v1/models/m:predict HTTP/1.1\r\nHost: h:81\r\nUser-Agent: salver-bench\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


def test_errors_are_shown_as_the_server_says_them() -> None:
    assert error_text(b'{"error": "wrong"}') == "wrong"
    assert error_text(b"<html>\xff" + b"x" * 999) == "<html>\ufffd" + "x" * 293


async def test_answers_come_over_one_connection(server: ScriptedServer) -> None:
    address = await server.start()
    lines = HttpLines(address, None, 10)
    (line,) = await lines.open(1)
    request = http_request(address, "/p", b"[1]")
    assert await ask(line, request) == ("", "", len(answer_bytes()))
    server.answer = lambda _: (0, answer_bytes(404, b'{"error": "nothing here"}'))
    assert (await ask(line, request))[:2] == ("404", "nothing here")
    assert server.received == [request] * 2
    assert server.connections == 1
    await lines.close()


async def test_a_connection_that_the_server_ends_is_made_anew(server: ScriptedServer) -> None:
    address = await server.start()
    server.answer = lambda _: (0, answer_bytes(more="Connection: close\r\n"))
    lines = HttpLines(address, None, 10)
    (line,) = await lines.open(1)
    for _ in range(3):
        assert (await ask(line, http_request(address, "/", b"")))[0] == ""
    assert server.connections == 3
    server.answer = lambda _: (0, b"")
    failure, message, _ = await ask(line, http_request(address, "/", b""))
    assert (failure, message) == ("connection lost", "the server closed the connection")
    await lines.close()


async def test_what_is_no_http_is_a_failure(server: ScriptedServer) -> None:
    address = await server.start()
    server.answer = lambda _: (0, b"220 mail.example.org ESMTP\r\n")
    lines = HttpLines(address, None, 10)
    (line,) = await lines.open(1)
    assert (await ask(line, http_request(address, "/", b"")))[0] == "no HTTP"
    await lines.close()


async def test_an_answer_that_does_not_come_is_a_timeout(server: ScriptedServer) -> None:
    address = await server.start()
    server.answer = lambda number: (0.02 if number == 0 else 60, answer_bytes())
    lines = HttpLines(address, None, 0.1)
    (line,) = await lines.open(1)
    request = http_request(address, "/", b"")
    assert (await ask(line, request))[0] == ""  # leaves the timer, which is set again for the next
    assert await ask(line, request) == ("timeout", "no answer within 0.1 s", 0)
    await lines.close()


async def test_a_timer_that_finds_nothing_to_do_is_not_set_again(server: ScriptedServer) -> None:
    address = await server.start()
    lines = HttpLines(address, None, 0.02)
    (line,) = await lines.open(1)
    assert (await ask(line, http_request(address, "/", b"")))[0] == ""
    await asyncio.sleep(0.04)  # longer than the timer
    assert (await ask(line, http_request(address, "/", b"")))[0] == ""
    await lines.close()


async def test_a_server_that_is_not_there_is_said_at_once(server: ScriptedServer) -> None:
    address = await server.start()
    lines = HttpLines(address, None, 1)
    (line,) = await lines.open(1)
    server.answer = lambda _: (0, answer_bytes(more="Connection: close\r\n"))
    assert (await ask(line, http_request(address, "/", b"")))[0] == ""
    await server.stop()
    assert (await ask(line, http_request(address, "/", b"")))[0] == "no connection"
    await lines.close()
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        await HttpLines(address, None, 1).open(1)
    assert caught.value.hint == "Is a server running there?"


async def test_a_connection_that_takes_too_long_is_given_up(server: ScriptedServer) -> None:
    address = await server.start()
    with pytest.raises(Unavailable, match="cannot be reached: no connection in time"):
        await HttpLines(address, None, 0).open(1)


async def test_an_answer_that_nobody_asked_for_is_dropped(server: ScriptedServer) -> None:
    address = await server.start()
    server.answer = lambda _: (0, answer_bytes() * 2)
    lines = HttpLines(address, None, 10)
    (line,) = await lines.open(1)
    assert (await ask(line, http_request(address, "/", b"")))[0] == ""
    server.answer = lambda _: (0, answer_bytes(500, b"late"))
    assert (await ask(line, http_request(address, "/", b"")))[:2] == ("500", "late")
    await lines.close()


async def test_nothing_is_said_after_closing(server: ScriptedServer) -> None:
    address = await server.start()
    server.answer = lambda _: (60, answer_bytes())
    lines = HttpLines(address, None, 10)
    (line,) = await lines.open(1)
    said: list[Said] = []
    line.send(http_request(address, "/", b""), lambda *result: said.append(result))
    await lines.close()
    for _ in range(5):
        await asyncio.sleep(0)
    assert said == []
