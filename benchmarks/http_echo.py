"""What our HTTP/1.1 transport costs, beside the least a protocol on httptools can do.

    python benchmarks/http_echo.py [--seconds 3] [--rounds 3]

`least` reads requests with llhttp, looks at nothing, and writes a constant. `ours` is `HttpServer`
with a handler that returns a constant. Both on uvloop, one process, 16 connections of wrk; rounds
alternate, the best of each counts. The target for `ours / least` is 0.85.
"""

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import cast

import httptools
import uvloop

from salver.transport.messages import HttpRequest, HttpResponse
from salver.transport.server import HttpServer

BODY = b'{"predictions": [2.5, 3.0, 4.5]}'
CASES = {
    "GET, wrk's one field": "",
    "POST of 30 bytes, the seven fields of python-requests": """
wrk.method = "POST"
wrk.path = "/v1/models/half_plus_two:predict"
wrk.body = '{"instances": [1.0, 2.0, 5.0]}'
wrk.headers["User-Agent"] = "python-requests/2.32.3"
wrk.headers["Accept-Encoding"] = "gzip, deflate"
wrk.headers["Accept"] = "*/*"
wrk.headers["Connection"] = "keep-alive"
wrk.headers["Content-Type"] = "application/json"
""",
    "the same, each head unlike all others": """
local n = 0
request = function()
  n = n + 1
  wrk.headers["X-Request-Id"] = tostring(n)
  return wrk.format("POST", "/v1/models/half_plus_two:predict", nil,
                    '{"instances": [1.0, 2.0, 5.0]}')
end
""",
    "POST of 16 kB": """
wrk.method = "POST"
wrk.path = "/v1/models/m:predict"
wrk.body = string.rep("x", 16000)
""",
    "POST of 3 MB": """
wrk.method = "POST"
wrk.path = "/v1/models/m:predict"
wrk.body = string.rep("x", 3000000)
""",
}


class Least(asyncio.Protocol):
    """Parses, and answers what it has not looked at."""

    ANSWER = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (len(BODY), BODY)
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.parser = httptools.HttpRequestParser(self)
        self.pieces: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        b"".join(self.pieces)
        self.pieces.clear()
        self.transport.write(self.ANSWER)


async def serve_least(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Least, "127.0.0.1", port)
    await server.serve_forever()


async def serve_ours(port: int) -> None:
    def answer(request: HttpRequest) -> HttpResponse:
        return HttpResponse(200, BODY)

    def page(status: int, message: str, hint: str | None) -> HttpResponse:
        return HttpResponse(status, message.encode())

    def in_pool(work: Callable[[], bytes]) -> Awaitable[bytes]:
        return asyncio.get_running_loop().run_in_executor(None, work)

    def clock() -> float:
        return datetime.now(timezone.utc).timestamp()

    server = HttpServer(answer, error_page=page, clock=clock, run_in_pool=in_pool)
    await server.listen("127.0.0.1", port)
    await asyncio.Event().wait()


def requests_per_second(port: int, script: Path, seconds: int) -> float:
    said = subprocess.run(
        ["wrk", "-t1", "-c16", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(said)
    return float(found[1])


def compare(seconds: int, rounds: int) -> None:
    ports = {"least": 18651, "ours": 18652}
    servers = [
        subprocess.Popen([sys.executable, __file__, "--serve", name, "--port", str(port)])
        for name, port in ports.items()
    ]
    try:
        time.sleep(1.0)
        with tempfile.TemporaryDirectory() as where:
            for case, text in CASES.items():
                script = Path(where, "wrk.lua")
                script.write_text(text)
                best = dict.fromkeys(ports, 0.0)
                for _ in range(rounds):
                    for name, port in ports.items():
                        best[name] = max(best[name], requests_per_second(port, script, seconds))
                print(
                    f"{case}: least {best['least']:.0f}/s, ours {best['ours']:.0f}/s,"
                    f" ratio {best['ours'] / best['least']:.2f}"
                )
    finally:
        for server in servers:
            server.terminate()
            server.wait()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--serve", choices=["least", "ours"])
    arguments.add_argument("--port", type=int, default=0)
    chosen = arguments.parse_args()
    if chosen.serve is None:
        compare(chosen.seconds, chosen.rounds)
    else:
        serve = serve_least if chosen.serve == "least" else serve_ours
        uvloop.run(serve(chosen.port))


if __name__ == "__main__":
    main()
