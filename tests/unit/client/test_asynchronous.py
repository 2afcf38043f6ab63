import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.canned import canned, http

from salver.client import AsyncClient
from salver.errors import Unavailable


async def test_a_call_that_is_cancelled_leaves_the_client_usable() -> None:
    def first_hangs(_: str, number: int) -> bytes:
        return b"HTTP/1.1 200 X\r\n" if number == 1 else http(200, b'{"model_version_status": []}')

    with canned(first_hangs) as server:
        async with AsyncClient(server.url) as client:
            call = asyncio.ensure_future(client.status("m"))
            await asyncio.to_thread(server.asked.wait)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (await client.status("m")).versions == ()


async def test_grpc_goes_through_the_loop_too() -> None:
    async with AsyncClient("grpc://127.0.0.1:1", retries=0) as client:
        with pytest.raises(Unavailable):
            await client.status("m")


def test_a_client_can_be_made_outside_of_any_loop() -> None:
    with canned([http(200, b'{"model_version_status": []}')]) as server, ThreadPoolExecutor(1):
        client = AsyncClient(server.url)

        async def ask() -> int:
            async with client:
                return len((await client.status("m")).versions)

        assert asyncio.run(ask()) == 0
