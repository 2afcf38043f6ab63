"""The yardstick: uvloop, httptools, orjson and one call into TensorFlow, and nothing else.

It answers any request as if it were a row-format predict of `serving_default` and checks nothing:
no route, no header, no limit, no error. What a server adds to be one is measured against this.
"""

import argparse
import asyncio

import httptools
import numpy as np
import orjson
import uvloop

from salver.backends.tensorflow.library import load_library
from salver.backends.tensorflow.session import SavedModelProgram, load_saved_model


class Connection(asyncio.Protocol):
    def __init__(self, program: SavedModelProgram) -> None:
        self._program = program
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        instances = np.array(orjson.loads(self._body)["instances"], np.float32)
        self._body = b""
        (outputs,) = self._program.run_inline([instances])
        body = orjson.dumps({"predictions": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


async def serve(program: SavedModelProgram, port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(program), "127.0.0.1", port)
    print("listening", flush=True)
    await server.serve_forever()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("directory", help="of one version of a SavedModel")
    arguments.add_argument("--port", type=int, required=True)
    chosen = arguments.parse_args()
    model = load_saved_model(load_library(), chosen.directory, tags=["serve"], session_config=b"")
    program = model.program("serving_default")
    uvloop.run(serve(program, chosen.port))


if __name__ == "__main__":
    main()
