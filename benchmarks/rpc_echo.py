"""The yardstick: grpc.aio on uvloop that looks at nothing and answers as many bytes as it is told.

It serves any method, parses no message and runs no model. What a server adds to be one is measured
against this.
"""

import argparse
import asyncio
from typing import Any

import grpc
import uvloop


class Everything(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, answer: bytes) -> None:
        async def reply(request: bytes, context: Any) -> bytes:
            return answer

        self._handler = grpc.unary_unary_rpc_method_handler(reply)

    def service(self, handler_call_details: Any) -> Any:
        return self._handler


async def serve(port: int, answer_bytes: int) -> None:
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Everything(bytes(answer_bytes)),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--answer-bytes", type=int, required=True)
    chosen = arguments.parse_args()
    uvloop.run(serve(chosen.port, chosen.answer_bytes))


if __name__ == "__main__":
    main()
