"""Calls step by step: what is sent is recorded, what comes back is said by the test."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from salver.client.attempts import Retries
from salver.client.exchange import Pause, Reply, Send, Step, Steps, Which
from salver.client.grpc_wire import GrpcWire
from salver.client.operations import Operations
from salver.client.rest_wire import RestWire
from salver.codecs.protobuf.model_spec import ModelSpec
from salver.codecs.protobuf.predict_message import encode_predict_response
from salver.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

M = Which("m")
Answer = Reply | Exception


class World:
    """Takes the steps of calls; a pause and an answer take time."""

    def __init__(
        self, timeout_s: float | None = 60.0, retries: int = 3, grpc: bool = False
    ) -> None:
        self.now_s = 0.0
        self.answer_s = 0.0
        self.sent: list[str] = []
        self.bodies: list[bytes | None] = []
        self.timeouts: list[float | None] = []
        self.pauses: list[float] = []
        self.operations = Operations(
            GrpcWire() if grpc else RestWire(),
            Retries(retries, random=lambda: 1.0),
            timeout_s,
            lambda: self.now_s,
        )

    def take(self, steps: Steps[Any], *answers: Answer) -> Any:
        left = list(answers)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    self.now_s += step.seconds
                    step = next(steps)
                    continue
                assert isinstance(step, Send)
                self.sent.append(step.exchange.path)
                self.bodies.append(step.exchange.body)
                self.timeouts.append(step.timeout_s)
                self.now_s += self.answer_s
                step = self._go_on(steps, left.pop(0))
        except StopIteration as end:
            assert not left
            return end.value

    @staticmethod
    def _go_on(steps: Steps[Any], answer: Answer) -> Step:
        if isinstance(answer, Exception):
            return steps.throw(answer)
        return steps.send(answer)

    def predict(
        self,
        inputs: Any,
        *answers: Answer,
        which: Which = M,
        signature: str | None = None,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        steps = self.operations.predict(which, inputs, signature, outputs, timeout_s)
        return self.take(steps, *answers)


@pytest.fixture
def world() -> World:
    return World()


def ok(body: Any, version: int | None = None) -> Reply:
    headers = {} if version is None else {"salver-model-version": str(version)}
    return Reply(json.dumps(body).encode(), 200, headers)


def refused(status: int, text: str = "no") -> Reply:
    return Reply(json.dumps({"error": text}).encode(), status)


def metadata(version: int = 1, dtype: str = "DT_FLOAT", output: str = "y") -> Reply:
    tensor = {"dtype": dtype, "name": "t:0"}
    signature = {"inputs": {"x": tensor}, "outputs": {output: tensor, "z": tensor}}
    return ok(
        {
            "model_spec": {"name": "m", "version": str(version)},
            "metadata": {"signature_def": {"signature_def": {"serving_default": signature}}},
        }
    )


def outputs(value: float = 1.0, version: int | None = 1, output: str = "y") -> Reply:
    return ok({"outputs": {output: [value], "z": [0]}}, version)


ASK, LEARN = "/v1/models/m:predict", "/v1/models/m/metadata"


def test_signatures_are_asked_for_once(world: World) -> None:
    first = world.predict([1], metadata(), outputs(2.0))
    second = world.predict([1], outputs(3.0))
    assert world.sent == [LEARN, ASK, ASK]
    assert (first["y"].tolist(), second["y"].tolist()) == ([2.0], [3.0])
    assert first["y"].dtype == np.float32
    assert first.version == 1
    assert world.bodies[1] == b'{"signature_name":"serving_default","inputs":{"x":[1.0]}}'


def test_only_the_outputs_that_are_wanted_come_in_their_order(world: World) -> None:
    assert list(world.predict([1], metadata(), outputs(), outputs=["z", "y"])) == ["z", "y"]


def test_an_output_that_is_not_there_is_refused_before_anything_is_sent(world: World) -> None:
    with pytest.raises(InvalidArgument, match="has no output 'q'") as caught:
        world.predict([1], metadata(), outputs=["q"])
    assert caught.value.hint == "It gives 'y', 'z'."
    assert world.sent == [LEARN]


def test_a_signature_that_is_not_there_is_told_in_the_words_of_the_server(world: World) -> None:
    with pytest.raises(
        FailedPrecondition, match=r'^Serving signature key "s" not found\.$'
    ) as caught:
        world.predict([1], metadata(), signature="s")
    assert caught.value.hint == "The model has 'serving_default'."


def test_an_answer_of_another_version_is_read_by_the_signature_of_that_version(
    world: World,
) -> None:
    world.predict([1], metadata(1), outputs(1.0, 1))
    answer = world.predict([1], outputs(7, 2, "w"), metadata(2, "DT_INT32", "w"))
    assert answer["w"].dtype == np.int32
    assert answer.version == 2
    assert world.sent[-1] == "/v1/models/m/versions/2/metadata"
    world.predict([1], outputs(7, 2, "w"))
    assert world.sent[-1] == ASK
    assert world.bodies[-1] is not None
    assert b'"x":[1]' in world.bodies[-1]


def test_a_version_that_answered_and_is_gone_is_read_by_what_is_known(world: World) -> None:
    world.predict([1], metadata(1), outputs(1.0, 1))
    assert world.predict([1], outputs(2.0, 2), refused(404))["y"].tolist() == [2.0]


def test_grpc_answers_say_their_dtype_and_need_no_signature() -> None:
    world = World(grpc=True)
    steps = world.operations.predict(M, {}, None, None, None)
    signatures = GrpcWire().metadata(M)
    assert signatures.path.endswith("/GetModelMetadata")
    from salver._pb import message_class
    from salver.codecs.protobuf.service_messages import encode_metadata_response

    message = message_class("tensorflow.serving.SignatureDefMap")()
    message.signature_def["serving_default"].SetInParent()
    said = encode_metadata_response(ModelSpec("m", 1), message.SerializeToString())
    answer = encode_predict_response(
        ModelSpec("m", 2), [("y", np.array([1], np.int8))], as_content=False
    )
    result = world.take(steps, Reply(said), Reply(answer))
    assert result["y"].dtype == np.int8
    assert result.version == 2
    assert len(world.sent) == 2


def test_what_was_remembered_and_is_wrong_is_learnt_again(world: World) -> None:
    world.predict([1], metadata(1), outputs())
    answer = world.predict([1], refused(400), metadata(2, "DT_INT32"), outputs(5, 2))
    assert world.sent[-3:] == [ASK, LEARN, ASK]
    assert answer["y"].tolist() == [5]


def test_a_wrong_request_stays_wrong(world: World) -> None:
    world.predict([1], metadata(1), outputs())
    with pytest.raises(InvalidArgument, match="bad"):
        world.predict([1], refused(400, "bad"), metadata(1))
    with pytest.raises(InvalidArgument, match="bad"):
        world.predict([1], metadata(3), refused(400, "bad"), which=Which("m", 3))
    with pytest.raises(InvalidArgument, match="bad"):
        world.predict([1], refused(400, "bad"), which=Which("m", 3))


def test_what_is_fresh_is_not_learnt_again(world: World) -> None:
    with pytest.raises(InvalidArgument):
        world.predict([1], metadata(), refused(400))
    assert world.sent == [LEARN, ASK]


def test_a_server_that_does_not_tell_versions_is_asked_for_signatures_now_and_then(
    world: World,
) -> None:
    assert world.predict([1], metadata(), outputs(version=None)).version is None
    world.predict([1], outputs(version=None))
    world.now_s += 11
    world.predict([1], metadata(), outputs(version=None))
    assert world.sent == [LEARN, ASK, ASK, LEARN, ASK]


def test_a_server_that_tells_versions_is_not(world: World) -> None:
    world.predict([1], metadata(), outputs())
    world.now_s += 1000
    world.predict([1], outputs())
    assert world.sent == [LEARN, ASK, ASK]


def test_an_answer_that_does_not_fit_what_was_remembered_is_asked_for_again(world: World) -> None:
    world.predict([1], metadata(1), outputs(version=None))
    answer = world.predict(
        [1],
        ok({"outputs": {"w": [2], "z": [1]}}),
        metadata(2, output="w"),
        outputs(2, None, "w"),
    )
    assert answer["w"].tolist() == [2.0]
    with pytest.raises(Internal, match="does not fit the signature"):
        world.predict([1], ok({"outputs": {}}), metadata(2, output="w"))


def test_a_version_that_was_asked_for_is_the_one_that_answered(world: World) -> None:
    answer = world.predict([1], metadata(0), outputs(version=None), which=Which("m", 0))
    assert answer.version == 0


def test_not_everything_is_remembered_for_ever(world: World) -> None:
    for number in range(300):
        which = Which(f"m{number}")
        world.predict([1], metadata(), outputs(), which=which)
    world.predict([1], metadata(), outputs(), which=Which("m0"))
    world.predict([1], outputs(), which=Which("m299"))


def test_what_did_not_arrive_is_sent_again_with_growing_pauses(world: World) -> None:
    gone = Unavailable("gone")
    status = ok({"model_version_status": []})
    world.take(world.operations.status(M, None), gone, refused(503), gone, status)
    assert world.pauses == pytest.approx([0.1, 0.2, 0.4])
    assert len(world.sent) == 4


def test_after_the_last_retry_the_error_stands(world: World) -> None:
    errors = [Unavailable(str(number)) for number in range(4)]
    with pytest.raises(Unavailable, match="3"):
        world.take(world.operations.status(M, None), *errors)
    none = World(retries=0)
    with pytest.raises(Unavailable, match="no"):
        none.take(none.operations.status(M, None), refused(503))


@pytest.mark.parametrize("error", [ResourceExhausted("full"), DeadlineExceeded("late")])
def test_other_errors_are_not_tried_again(world: World, error: Exception) -> None:
    with pytest.raises(type(error)):
        world.take(world.operations.regress(M, [], None, None), error)
    assert len(world.sent) == 1


def test_retries_stay_within_the_time_of_the_call() -> None:
    world = World(timeout_s=1.0)
    world.answer_s = 0.7
    with pytest.raises(Unavailable):
        world.take(world.operations.status(M, None), Unavailable("a"), Unavailable("b"))
    assert world.timeouts == pytest.approx([1.0, 0.2])


def test_a_call_may_have_a_time_of_its_own() -> None:
    world = World(timeout_s=None)
    said = ok({"model_version_status": []})
    world.take(world.operations.status(M, None), said)
    world.take(world.operations.status(M, 3.0), said)
    assert world.timeouts == [None, 3.0]


def test_examples_are_sent_for_the_default_signature(world: World) -> None:
    classes = world.take(
        world.operations.classify(M, [{"x": 1.0}], None, None), ok({"results": [[["a", 1.0]]]})
    )
    values = world.take(
        world.operations.regress(M, [{"x": 1.0}], "s", None), ok({"results": [2.0]})
    )
    assert classes == [[("a", 1.0)]]
    assert values.tolist() == [2.0]
    assert world.bodies[0] == b'{"signature_name": "", "examples": [{"x": [1.0]}]}'


def test_metadata_is_always_asked_for(world: World) -> None:
    for version in (1, 2):
        said = world.take(world.operations.metadata(M, None), metadata(version))
        assert said.version == version


def test_models_are_listed(world: World) -> None:
    assert world.take(world.operations.models(None), ok({"models": []})) == ()


# -- waiting ---------------------------------------------------------------------------------------


def statuses(*states: str, error: str = "") -> Reply:
    return ok(
        {
            "model_version_status": [
                {
                    "version": str(number),
                    "state": state,
                    "status": {"error_code": "NOT_FOUND", "error_message": error} if error else {},
                }
                for number, state in enumerate(states, 1)
            ]
        }
    )


def test_waiting_ends_when_a_version_is_available(world: World) -> None:
    world.take(
        world.operations.wait_ready(M, 60.0),
        Unavailable("not yet"),
        refused(404),
        statuses("START"),
        statuses("LOADING"),
        statuses("LOADING", "AVAILABLE"),
    )
    assert world.pauses == pytest.approx([0.05, 0.075, 0.1125, 0.16875])


def test_waiting_for_the_server_asks_for_its_health(world: World) -> None:
    world.take(world.operations.wait_ready(None, 60.0), refused(503), ok({}))
    assert world.sent == ["/healthz/ready"] * 2


def test_a_server_without_a_health_service_is_ready_when_it_answers() -> None:
    from salver.errors import Unimplemented

    world = World(grpc=True)
    world.take(world.operations.wait_ready(None, 60.0), Unimplemented("no such method"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Unavailable("nobody there"), "nobody there"),
        (statuses("LOADING"), "version 1 is LOADING"),
        (statuses(), "it has no version"),
        (DeadlineExceeded("late"), "it does not answer"),
        (NotFound("what?"), "what\\?"),
    ],
)
def test_waiting_too_long_tells_how_things_are(world: World, answer: Answer, reason: str) -> None:
    with pytest.raises(
        DeadlineExceeded, match=f"^Model 'm' was not ready within 0.04 s: {reason}$"
    ):
        world.take(world.operations.wait_ready(M, 0.04), answer)


def test_waiting_too_long_for_the_server_is_told_too(world: World) -> None:
    with pytest.raises(DeadlineExceeded, match=r"^The server was not ready within 0.01 s: no$"):
        world.take(world.operations.wait_ready(None, 0.01), refused(503))


def test_the_time_may_end_while_an_answer_is_waited_for(world: World) -> None:
    world.answer_s = 0.99
    with pytest.raises(DeadlineExceeded, match="version 1 is LOADING"):
        world.take(world.operations.wait_ready(M, 1.05), statuses("LOADING"), DeadlineExceeded("x"))


def test_waiting_ends_with_the_error_when_no_version_will_come(world: World) -> None:
    with pytest.raises(NotFound, match=r"^torn$"):
        world.take(world.operations.wait_ready(M, 60.0), statuses("END", error="torn"))
    with pytest.raises(DeadlineExceeded):
        world.take(world.operations.wait_ready(M, 0.01), statuses("END", "LOADING", error="torn"))
    with pytest.raises(DeadlineExceeded):
        world.take(world.operations.wait_ready(M, 0.01), statuses("END"))
