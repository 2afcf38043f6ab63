import asyncio
from typing import Any

import numpy as np
import pytest
from tests.kept_logs import KeptLogger, KeptLogs
from tests.messages import array_of, method_types, spec, tensor
from tests.shelf import FLOATS, FunctionModel, Gate, Shelf, occupy, response_of, signature

from salver._pb import message_class
from salver.errors import Code, DeadlineExceeded, Internal, ServingError
from salver.inference.logged import Messages
from salver.protocols.methods import Call
from salver.tfs.rpc.session import SessionService

PATH = "/tensorflow.serving.SessionService/SessionRun"
LONG_S = 10.0
MODEL = FunctionModel(
    {
        "serving_default": (
            signature({"a": FLOATS, "b": FLOATS}, {"less": FLOATS, "sum": FLOATS}),
            lambda a, b: [a - b, a + b],
        )
    }
)


class Client:
    """Asks the service by messages."""

    def __init__(self, shelf: Shelf, **options: Any) -> None:
        table = SessionService(shelf, in_pool=shelf.in_pool, **options).methods()
        self._method: Any = table[PATH]

    def begin(self, *feeds: tuple[str, Any], timeout_s: float | None = None, **more: Any) -> Any:
        request_type, _ = method_types(PATH)
        request = request_type(**{"model_spec": spec("m"), **more})
        for name, proto in feeds:
            request.feed.add(name=name, tensor=proto)
        return self._method(request.SerializeToString(), Call(timeout_s))

    async def __call__(self, *feeds: tuple[str, Any], **more: Any) -> Any:
        _, response_type = method_types(PATH)
        return response_type.FromString(await response_of(self.begin(*feeds, **more)))


@pytest.fixture(params=[True, False], ids=["inline", "pooled"])
def client(request: pytest.FixtureRequest, shelf: Shelf) -> Client:
    """Of a server whose model runs in the loop, and of one where it does not."""
    shelf.put("m", 7, MODEL, is_inline=request.param)
    return Client(shelf)


def floats(*values: float) -> Any:
    return tensor(np.array(values, np.float32))


def fetched(response: Any) -> list[tuple[str, list[float]]]:
    return [(named.name, array_of(named.tensor).tolist()) for named in response.tensor]


async def text_of(answer: Any, code: Code = Code.INVALID_ARGUMENT) -> str:
    with pytest.raises(ServingError) as raised:
        await answer
    assert raised.value.code is code
    return raised.value.message


FEEDS = (("a:0", floats(5)), ("b:0", floats(2)))
ALIASED = (("a", floats(5)), ("b", floats(2)))


async def test_tensors_are_named_as_in_the_graph(client: Client) -> None:
    response = await client(*FEEDS, fetch=["sum:0", "less:0", "sum:0"])
    assert fetched(response) == [("sum:0", [7.0]), ("less:0", [3.0]), ("sum:0", [7.0])]
    assert response.model_spec == spec("m", version=7)
    assert not response.HasField("metadata")


async def test_tensors_are_named_as_in_a_signature(client: Client) -> None:
    for name in ("", "serving_default"):
        response = await client(
            *ALIASED, fetch=["sum"], target=["less"], tensor_name_is_alias=True,
            model_spec=spec("m", name),
        )  # fmt: skip
        assert fetched(response) == [("sum", [7.0])]
        assert response.model_spec == spec("m", "serving_default", version=7)


async def test_nodes_are_run_to_without_an_output(client: Client) -> None:
    assert fetched(await client(*FEEDS, target=["sum"])) == []


async def test_values_are_written_as_values_or_as_content(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL)
    [named] = (await Client(shelf)(*FEEDS, fetch=["sum:0"])).tensor
    assert (named.tensor.float_val, named.tensor.tensor_content) == ([7.0], b"")
    [named] = (await Client(shelf, as_content=True)(*FEEDS, fetch=["sum:0"])).tensor
    assert (named.tensor.float_val, len(named.tensor.tensor_content)) == ([], 4)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ({"model_spec": None}, Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        ({"model_spec": spec("")}, Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (
            {"model_spec": spec("m", version=3)},
            Code.NOT_FOUND,
            "Servable not found for request: Specific(m, 3)",
        ),
        (
            {"fetch": [":0"]},
            Code.INVALID_ARGUMENT,
            "Tensor :0 was not found in the Graph",
        ),
        (
            {"model_spec": spec("m", "nope"), "tensor_name_is_alias": True},
            Code.FAILED_PRECONDITION,
            'Serving signature key "nope" not found.',
        ),
        (
            {"tensor_name_is_alias": True},
            Code.INVALID_ARGUMENT,
            "input tensor alias not found in signature: a:0 Inputs expected to be in the set "
            "{a,b}.",
        ),
    ],
)
async def test_what_is_wrong_is_told(
    client: Client, more: dict[str, Any], code: Code, message: str
) -> None:
    assert await text_of(client(*FEEDS, **{"fetch": ["sum:0"], **more}), code) == message


async def test_a_tensor_that_is_none_is_told_by_its_name(client: Client) -> None:
    nothing = message_class("tensorflow.TensorProto")()
    answer = client(("a:0", nothing), ("b:0", floats(1)), fetch=["sum:0"])
    assert await text_of(answer) == "tensor parsing error: a:0"


async def test_bytes_that_are_no_message_are_refused(client: Client) -> None:
    with pytest.raises(Internal):
        client._method(b"\xff", Call())


async def test_the_deadline_counts(shelf: Shelf, gate: Gate, client: Client) -> None:
    with pytest.raises(DeadlineExceeded):
        client.begin(*FEEDS, timeout_s=0.0)
    shelf.put("m", 8, MODEL, is_inline=False)
    occupy(shelf.pool, gate)
    answer = client(*FEEDS, fetch=["sum:0"], timeout_s=1e-3)
    assert await text_of(answer, Code.DEADLINE_EXCEEDED) == "Timed out waiting for notification"
    await asyncio.sleep(0)
    assert shelf.in_flight() == 0


async def test_all_tensors_of_a_request_share_what_they_may_grow(
    client: Client, shelf: Shelf
) -> None:
    padded = message_class("tensorflow.TensorProto")(dtype=1, float_val=[1.0])
    padded.tensor_shape.dim.add(size=3 << 20)
    feeds = [(name, padded) for name in ("a:0", "b:0")]
    assert await text_of(client(*feeds, fetch=["sum:0"])) == "tensor parsing error: b:0"
    assert shelf.in_flight() == 0
    assert shelf.pooled == 1


async def test_an_answered_call_is_logged_with_its_messages(shelf: Shelf) -> None:
    shelf.put("m", 7, MODEL)
    logger = KeptLogger()
    client = Client(shelf, logs=KeptLogs({"m": logger}))
    answer = await response_of(client.begin(*FEEDS, fetch=["sum:0"]))
    with pytest.raises(ServingError):
        await client(fetch=["sum:0"])  # not logged
    (call,) = logger.calls
    assert (call.method, call.servable.name, call.version) == ("session_run", "m", 7)
    assert isinstance(call.content, Messages)
    assert call.content.response == answer


async def test_an_answer_is_counted_without_a_signature(shelf: Shelf, client: Client) -> None:
    await client(*FEEDS, fetch=["sum:0"])
    page = shelf.metrics.draw()().decode()
    labels = (
        'model_name="m",version="7",signature="",method="session_run",entrypoint="GRPC",'
        'protocol="tfs"'
    )
    assert f"salver_request_seconds_count{{{labels}}} 1\n" in page
    assert ":tensorflow:serving:request_count{" not in page
