import re
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.shelf import FLOATS, FunctionModel, Gate, Shelf, half_plus_two, response_of, signature

from salver.codecs.oip.tensors import array_of_raw
from salver.codecs.protobuf.room import Room
from salver.errors import DeadlineExceeded, Internal, InvalidArgument
from salver.inference.call import Inference, IsActive
from salver.oip.asked import AnsweredOutput, Asked, GivenInput, RequestedOutput
from salver.oip.asking import Labels, OipRequest, default_signature
from salver.oip.parameters import Parameters
from salver.vocabulary.access import Priority, current_priority
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import Array, ServableRequest
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import Signature, TensorSpec

M = ServableRequest("m")
Answer = list[tuple[str, str, Any]]


class Request(OipRequest[Answer]):
    def write(self, outputs: Sequence[AnsweredOutput]) -> Answer:
        return [(of.name, of.datatype, of.array.tolist()) for of in outputs]


def given(name: str, values: Any, datatype: str = "FP32") -> GivenInput:
    array = np.array(values, np.float32)

    def read(dtype: DataType, shape: tuple[int, ...], name: str, room: Room) -> Array:
        return array_of_raw(dtype, shape, array.tobytes(), name, room)

    return GivenInput(name, datatype, array.shape, read)


async def answer(shelf: Shelf, asked: Asked, labels: Labels | None = None) -> Answer:
    def codec(data: bytes, _context: None, _is_active: IsActive | None) -> Request:
        return Request(M, asked, data, labels)

    call = Inference(shelf, shelf.in_pool).answer((codec,), b"", None, None)
    found = await response_of(call)
    assert shelf.in_flight() == 0
    return found


async def message_of(shelf: Shelf, asked: Asked) -> str:
    with pytest.raises(InvalidArgument) as raised:
        await answer(shelf, asked)
    assert raised.value.version == 7
    assert shelf.in_flight() == 0
    return raised.value.message


TWO = signature({"a": FLOATS, "b": FLOATS}, {"sum": FLOATS, "product": FLOATS})


@pytest.fixture
def two(shelf: Shelf) -> Shelf:
    model = FunctionModel({"serving_default": (TWO, lambda a, b: [a * b, a + b])})
    shelf.put("m", 7, model)
    return shelf


BOTH = (given("b", [3]), given("a", [2]))


async def test_inputs_are_found_by_name_and_all_outputs_answered(two: Shelf) -> None:
    assert await answer(two, Asked(BOTH)) == [("product", "FP32", [6]), ("sum", "FP32", [5])]


async def test_outputs_are_those_requested_in_that_order(two: Shelf) -> None:
    one = Asked(BOTH, (RequestedOutput("sum"),))
    assert await answer(two, one) == [("sum", "FP32", [5])]
    turned = Asked(BOTH, (RequestedOutput("sum"), RequestedOutput("product")))
    assert await answer(two, turned) == [("sum", "FP32", [5]), ("product", "FP32", [6])]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            BOTH[:1],
            "expected 2 inputs but got 1 inputs for model 'm'. Got input(s) ['b'], but missing "
            "required input(s) ['a']. Please provide all required input(s).",
        ),
        ((), "expected 2 inputs but got 0 inputs for model 'm'. Got input(s) []"),
        ((*BOTH, given("c", [1])), "expected 2 inputs but got 3 inputs"),
        ((BOTH[0], given("c", [1])), "unexpected inference input 'c' for model 'm'"),
        ((BOTH[0], BOTH[0]), "input 'b' already exists in request"),
        (
            (BOTH[0], given("a", [1], "INT32")),
            "inference input 'a' data-type is 'INT32', but model 'm' expects 'FP32'",
        ),
        ((BOTH[0], given("a", [1], "FP99")), "invalid datatype for input a: 'FP99'"),
    ],
)
async def test_inputs_that_are_not_the_models_are_refused_in_words_that_clients_know(
    two: Shelf, inputs: Sequence[GivenInput], message: str
) -> None:
    assert message in await message_of(two, Asked(inputs))


async def test_an_input_may_have_another_shape_than_is_declared(two: Shelf) -> None:
    asked = Asked((given("a", [[2]]), given("b", [[3]])))
    assert await answer(two, asked) == [("product", "FP32", [[6]]), ("sum", "FP32", [[5]])]


async def test_outputs_that_are_not_there_or_twice_are_refused(two: Shelf) -> None:
    unknown = Asked(BOTH, (RequestedOutput("z"),))
    assert "unexpected inference output 'z' for model 'm'" in await message_of(two, unknown)
    twice = Asked(BOTH, (RequestedOutput("sum"), RequestedOutput("sum")))
    assert "output 'sum' already exists in request" in await message_of(two, twice)


async def test_an_input_with_a_default_may_be_left_out(shelf: Shelf) -> None:
    spec = TensorSpec(DataType.FLOAT32, (-1,))
    defaults = {"b": np.array([10], np.float32)}
    of = Signature({"a": spec, "b": spec}, {"y": spec}, defaults=defaults)
    shelf.put("m", 7, FunctionModel({"serving_default": (of, lambda a, b: [a + b])}))
    assert await answer(shelf, Asked([given("a", [1])])) == [("y", "FP32", [11])]
    message = await message_of(shelf, Asked([given("b", [1])]))
    assert message.startswith("expected number of inputs between 1 and 2 but got 1 inputs")
    assert "missing required input(s) ['a']" in message


@pytest.mark.parametrize("shape", [None, (), (-1,)])
async def test_a_shape_that_is_not_declared_is_not_checked(
    shelf: Shelf, shape: tuple[int, ...] | None
) -> None:
    of = signature({"x": (DataType.FLOAT32, shape)}, {"y": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, half_plus_two)}))
    assert await answer(shelf, Asked([given("x", [2])])) == [("y", "FP32", [3])]


async def test_a_signature_is_asked_for_by_a_parameter(shelf: Shelf) -> None:
    shelf.put(
        "m",
        7,
        FunctionModel(
            {
                "serving_default": (signature({"x": FLOATS}, {"y": FLOATS}), half_plus_two),
                "twice": (signature({"x": FLOATS}, {"z": FLOATS}), lambda x: [x * 2]),
            }
        ),
    )
    twice = Asked([given("x", [2])], parameters=Parameters(signature_name="twice"))
    assert await answer(shelf, twice) == [("z", "FP32", [4])]
    unknown = Asked([], parameters=Parameters(signature_name="nope"))
    assert 'signature name: "nope" not found' in await message_of(shelf, unknown)


def test_the_default_signature_is_the_only_one_where_there_is_but_one() -> None:
    assert default_signature(["serving_default", "a"]) == "serving_default"
    assert default_signature(["a", "__saved_model_init_op"]) == "a"
    assert default_signature(["a", "b"]) == "serving_default"
    assert default_signature([]) == "serving_default"


async def test_a_run_takes_no_longer_than_its_timeout(shelf: Shelf) -> None:
    gate = Gate()
    of = signature({"x": FLOATS}, {"y": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, gate)}), is_inline=False)
    asked = Asked([given("x", [1])], parameters=Parameters(timeout_s=0.01))
    try:
        with pytest.raises(DeadlineExceeded):
            await answer(shelf, asked)
    finally:
        gate.let_go.set()


@pytest.mark.parametrize("outer", Priority)
@pytest.mark.parametrize("priority", [0, 1, 2, 99])
async def test_a_priority_makes_batch_work_of_a_run_and_never_the_other_way_round(
    shelf: Shelf, priority: int, outer: Priority
) -> None:
    seen: list[Priority] = []

    def run(x: Array) -> list[Array]:
        seen.append(current_priority.get())
        return [x]

    of = signature({"x": FLOATS}, {"y": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, run)}))
    token = current_priority.set(outer)
    asked = Asked([given("x", [1])], parameters=Parameters(timeout_s=9.0, priority=priority))
    await answer(shelf, asked)
    assert current_priority.get() is outer
    current_priority.reset(token)
    assert seen == [Priority.BATCH if priority > 1 else outer]


async def test_a_run_with_a_timeout_that_fails_still_has_a_hint(shelf: Shelf) -> None:
    def broken(_x: Array) -> list[Array]:
        raise Internal("shapes do not match")

    of = signature({"x": (DataType.FLOAT32, ())}, {"y": FLOATS})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, broken)}))
    for parameters in (Parameters(), Parameters(timeout_s=9.0), Parameters(priority=2)):
        with pytest.raises(Internal) as raised:
            await answer(shelf, Asked([given("x", [1])], parameters=parameters))
        assert "the signature says []" in (raised.value.hint or "")


async def test_an_output_that_the_protocol_cannot_carry_is_told_of(shelf: Shelf) -> None:
    of = signature({"x": FLOATS}, {"y": (DataType.COMPLEX64, (-1,))})
    model = FunctionModel({"serving_default": (of, lambda x: [x.astype(np.complex64)])})
    shelf.put("m", 7, model)
    with pytest.raises(Internal, match=re.escape("output 'y' is COMPLEX64")):
        await answer(shelf, Asked([given("x", [1])]))


class KnownLabels:
    def __init__(self) -> None:
        self.read_in: list[str] = []

    def is_known(self, id: ServableId) -> bool:
        return bool(self.read_in)

    def read(self, id: ServableId) -> None:
        self.read_in.append(threading.current_thread().name)

    def of_output(self, id: ServableId, signature_name: str, output: str) -> Sequence[str] | None:
        assert (id, signature_name) == (ServableId("m", 7), "serving_default")
        return {"y": ["no", "yes"]}.get(output)


async def test_scores_become_classes_with_labels_that_are_read_once_and_not_in_the_loop(
    shelf: Shelf,
) -> None:
    rows = (DataType.FLOAT32, (-1, 2))
    of = signature({"x": rows}, {"y": rows, "z": rows})
    shelf.put("m", 7, FunctionModel({"serving_default": (of, lambda x: [x, x])}))
    labels = KnownLabels()
    outputs = (RequestedOutput("y", classification=1), RequestedOutput("z", classification=1))
    for _ in range(2):
        assert await answer(shelf, Asked([given("x", [[1, 2]])], outputs), labels) == [
            ("y", "BYTES", [[b"2.000000:1:yes"]]),
            ("z", "BYTES", [[b"2.000000:1"]]),
        ]
    assert len(labels.read_in) == 1
    assert not labels.read_in[0].startswith("MainThread")
    assert await answer(shelf, Asked([given("x", [[1, 2]])]), KnownLabels())
