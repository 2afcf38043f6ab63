import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from salver.bench.grpc_lines import GrpcLines
from salver.bench.lines import Line
from salver.client.address import Tls, parse_address
from salver.errors import InvalidArgument

METHOD = "/service/Method"
Said = tuple[str, str, int]


class Echo(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """Echoes; fails or takes for ever when it is asked to."""

    def service(self, details: Any) -> Any:
        assert details.method == METHOD
        return grpc.unary_unary_rpc_method_handler(self.answer)

    async def answer(self, request: bytes, context: Any) -> bytes:
        if request == b"fail":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")
        if request == b"wait":
            await asyncio.Event().wait()
        return request


async def ask(line: Line, request: bytes) -> Said:
    said: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
    line.send(request, lambda *result: said.set_result(result))
    assert not said.done()
    return await asyncio.wait_for(said, 10)


async def test_calls_are_answered_refused_or_too_late() -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    lines = GrpcLines(parse_address(f"grpc://127.0.0.1:{port}"), None, METHOD, 0.5)
    first, second = await lines.open(1) + await lines.open(1)
    answers = await asyncio.gather(ask(first, b"abc"), ask(second, b"a"))
    assert list(answers) == [("", "", 3), ("", "", 1)]
    assert await ask(first, b"fail") == ("FAILED_PRECONDITION", "not today", 0)
    assert (await ask(second, b"wait"))[0] == "timeout"
    second.send(b"wait", lambda *_: pytest.fail("was given up"))
    await lines.close()
    await server.stop(None)


async def test_nobody_there_is_a_failure() -> None:
    lines = GrpcLines(parse_address("grpc://127.0.0.1:1"), None, METHOD, 5)
    used, _unused = await lines.open(2)
    assert (await ask(used, b""))[0] == "UNAVAILABLE"
    await lines.close()


async def test_authorities_are_read_from_their_file(tmp_path: Path) -> None:
    address = parse_address("grpcs://127.0.0.1:1")
    with pytest.raises(InvalidArgument, match="TLS cannot be set up: "):
        await GrpcLines(address, Tls(ca=tmp_path / "none"), METHOD, 5).open(1)
    lines = GrpcLines(address, None, METHOD, 5)
    (line,) = await lines.open(1)
    assert (await ask(line, b""))[0] == "UNAVAILABLE"
    await lines.close()
    await lines.close()  # once more is no harm
