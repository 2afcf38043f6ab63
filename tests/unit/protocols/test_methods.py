from collections.abc import AsyncGenerator, AsyncIterator

from salver.protocols.methods import Call, MethodTable, Stream


def test_a_call_without_a_deadline_may_take_for_ever() -> None:
    assert Call().timeout_s is None
    assert Call(2.5).timeout_s == 2.5


async def test_unary_methods_and_streams_are_told_apart() -> None:
    def echo(data: bytes, call: Call) -> bytes:
        return data

    async def twice(requests: AsyncIterator[bytes], call: Call) -> "AsyncGenerator[bytes, None]":
        async for data in requests:
            yield data
            yield data

    table: MethodTable = {"/s/Echo": echo, "/s/Twice": Stream(twice)}
    assert [isinstance(method, Stream) for method in table.values()] == [False, True]
    assert not Stream(twice).is_request_single
