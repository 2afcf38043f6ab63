"""SessionRun over gRPC, on real graphs."""

from typing import Any

import numpy as np
import pytest

from salver.errors import Code
from tests.contract.rpc.server import Rpc, refusal
from tests.messages import array_of, spec, strings, tensor

X = {"name": "x:0", "tensor": tensor(np.array([2], np.float32))}
HALF = spec("half_plus_two")


async def fetched(rpc: Rpc, **request: Any) -> dict[str, Any]:
    response = await rpc.session_run(**request)
    return {named.name: array_of(named.tensor).tolist() for named in response.tensor}


async def test_tensors_of_the_graph(rpc: Rpc) -> None:
    found = await fetched(rpc, model_spec=HALF, feed=[X], fetch=["y2:0", "y", "a:0"])
    assert found == {"y2:0": [4.0], "y": [3.0], "a:0": 0.5}


async def test_names_of_a_signature(rpc: Rpc) -> None:
    found = await fetched(
        rpc,
        model_spec=spec("strings"),
        feed=[{"name": "words", "tensor": tensor(strings(b"fox"))}],
        fetch=["lengths"],
        tensor_name_is_alias=True,
    )
    assert found == {"lengths": [3]}


async def test_a_target_is_run_and_not_fetched(rpc: Rpc) -> None:
    counter = spec("counter", "incr_counter")
    await fetched(
        rpc, model_spec=spec("counter", "reset_counter"), target=["output"],
        tensor_name_is_alias=True,
    )  # fmt: skip
    found = await fetched(rpc, model_spec=counter, target=["output"], tensor_name_is_alias=True)
    assert found == {}
    assert await fetched(rpc, model_spec=counter, fetch=["counter:0"]) == {"counter:0": 1.0}


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        ({}, Code.INVALID_ARGUMENT, "Must specify at least one target to fetch or execute."),
        (
            {"fetch": ["nope:0"]},
            Code.INVALID_ARGUMENT,
            "Tensor nope:0, specified in either feed_devices or fetch_devices was not found in "
            "the Graph",
        ),
        (
            {"feed": [X], "target": ["nope"]},
            Code.NOT_FOUND,
            "PruneForTargets: Some target nodes not found: nope",
        ),
        (
            {"feed": [X, X], "fetch": ["y:0"]},
            Code.INVALID_ARGUMENT,
            'Endpoint "x:0" fed more than once.',
        ),
        (
            {"feed": [X], "fetch": ["x:0"]},
            Code.INVALID_ARGUMENT,
            "x:0 is both fed and fetched.",
        ),
    ],
)
async def test_what_is_wrong_is_told(
    rpc: Rpc, request_: dict[str, Any], code: Code, text: str
) -> None:
    error = await refusal(rpc.session_run(model_spec=HALF, **request_))
    assert (error.code, error.message) == (code, text)
