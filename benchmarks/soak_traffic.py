"""Good requests to healthy models: what must never fail, and whose every value is checked."""

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import grpc
from soak_clients import Answer, Rest, Rpc, Tally, expect, http_request, message, predict_request

# Model → what its version must say of x.
Rule = Callable[[float, int], float]


def half(x: float, _version: int) -> float:
    return x / 2 + 2


def root(x: float, _version: int) -> float:
    return math.sqrt(x)


def echo(x: float, _version: int) -> float:
    return x


def four_lines(x: float, version: int) -> float:
    return 2 * x + version % 4


def two_lines(x: float, version: int) -> float:
    return 2 * x + version % 2


RULES: dict[str, Rule] = {
    "steady": half,
    "swapped": four_lines,
    "labelled": four_lines,
    "moved": four_lines,
    "faulty": four_lines,
    "logged": four_lines,
    "coming": four_lines,
    "visitor": four_lines,
    "big": two_lines,
    "rooted": root,
    "busy": echo,
}
LABELS = ("stable", "canary")


def check_values(name: str, x: Sequence[float], version: int, got: Sequence[float]) -> None:
    wanted = [RULES[name](value, version) for value in x]
    same = len(got) == len(wanted) and all(
        math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-5)
        for one, other in zip(got, wanted, strict=True)
    )
    expect(same, f"{name} version {version} said {got} of {x}, not {wanted}")


def check_rest(name: str, x: Sequence[float], answer: Answer, key: str = "predictions") -> None:
    expect(answer.status == 200, f"{name}: {answer}")
    version = int(answer.fields["salver-model-version"])
    check_values(name, x, version, json.loads(answer.body)[key])


@dataclass
class Traffic:
    """Every kind of good request, and the stream of them."""

    rest: Rest
    rpc: Rpc
    tally: Tally
    dice: Random = field(default_factory=lambda: Random(7))
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    late_s: list[float] = field(default_factory=list)

    def numbers(self, most: int = 5) -> list[float]:
        return [float(self.dice.randrange(100)) for _ in range(self.dice.randint(1, most))]

    async def rest_rows(self, name: str) -> None:
        x = self.numbers()
        body = json.dumps({"instances": x}).encode()
        check_rest(name, x, await self.rest.ask("POST", f"/v1/models/{name}:predict", body))

    async def rest_busy(self, name: str) -> None:
        x = [value / 10 for value in self.numbers()]  # milliseconds
        body = json.dumps({"instances": x}).encode()
        check_rest(name, x, await self.rest.ask("POST", f"/v1/models/{name}:predict", body))

    async def rest_columns(self, name: str) -> None:
        x = self.numbers()
        body = json.dumps({"inputs": {"x": x}}).encode()
        answer = await self.rest.ask("POST", f"/v1/models/{name}:predict", body)
        check_rest(name, x, answer, "outputs")

    async def rest_label(self, name: str) -> None:
        x, label = self.numbers(), self.dice.choice(LABELS)
        body = json.dumps({"instances": x}).encode()
        path = f"/v1/models/{name}/labels/{label}:predict"
        check_rest(name, x, await self.rest.ask("POST", path, body))

    async def rest_regress(self, name: str) -> None:
        x = self.numbers()
        examples = [{"x": value} for value in x]
        body = json.dumps({"signature_name": "regress_x_to_y", "examples": examples}).encode()
        answer = await self.rest.ask("POST", f"/v1/models/{name}:regress", body)
        check_rest(name, x, answer, "results")

    async def rest_new_connection(self, name: str) -> None:
        x = self.numbers()
        body = json.dumps({"instances": x}).encode()
        path = f"/v1/models/{name}:predict"
        request = http_request("POST", path, body, "Connection: close\r\n")
        check_rest(name, x, await self.rest.ask_once(request))

    async def rest_half_closed(self, name: str) -> None:
        x = self.numbers()
        request = http_request(
            "POST", f"/v1/models/{name}:predict", json.dumps({"instances": x}).encode()
        )
        check_rest(name, x, await self.rest.ask_once(request, half_close=True))

    async def rest_status(self, name: str) -> None:
        answer = await self.rest.ask("GET", f"/v1/models/{name}")
        expect(answer.status == 200 and b"AVAILABLE" in answer.body, answer)
        answer = await self.rest.ask("GET", f"/v1/models/{name}/metadata")
        expect(answer.status == 200 and b"serving_default" in answer.body, answer)

    async def rpc_predict(self, name: str, most: int = 5) -> None:
        await self._rpc_predict(name, self.numbers(most))

    async def rpc_zero_rows(self, name: str) -> None:
        await self._rpc_predict(name, [])

    async def rpc_label(self, name: str) -> None:
        await self._rpc_predict(name, self.numbers(), self.dice.choice(LABELS))

    async def _rpc_predict(self, name: str, x: list[float], label: str = "") -> None:
        request = predict_request(name, x, label)
        answer = await self.rpc.ask("PredictionService/Predict", request, "PredictResponse")
        tensor = answer.outputs["y"]
        got = list(tensor.float_val)
        check_values(name, x, answer.model_spec.version.value, got)
        expect([dim.size for dim in tensor.tensor_shape.dim] == [len(x)], tensor)

    def _examples(self, request: object, x: Sequence[float]) -> None:
        for value in x:
            example = request.input.example_list.examples.add()  # type: ignore[attr-defined]
            example.features.feature["x"].float_list.value.append(value)

    async def rpc_classify(self, name: str) -> None:
        x, request = self.numbers(), message("ClassificationRequest")
        request.model_spec.name, request.model_spec.signature_name = name, "classify_x_to_y"
        self._examples(request, x)
        answer = await self.rpc.ask("PredictionService/Classify", request, "ClassificationResponse")
        got = [each.classes[0].score for each in answer.result.classifications]
        check_values(name, x, answer.model_spec.version.value, got)

    async def rpc_multi(self, name: str) -> None:
        x, request = self.numbers(), message("MultiInferenceRequest")
        for method in ("classify", "regress"):
            task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
            task.model_spec.name, task.model_spec.signature_name = name, f"{method}_x_to_y"
        self._examples(request, x)
        answer = await self.rpc.ask(
            "PredictionService/MultiInference", request, "MultiInferenceResponse"
        )
        classified, regressed = answer.results
        version = regressed.model_spec.version.value
        classes = classified.classification_result.classifications
        check_values(name, x, version, [each.classes[0].score for each in classes])
        values = [each.value for each in regressed.regression_result.regressions]
        check_values(name, x, version, values)

    async def rpc_status(self, name: str) -> None:
        request = message("GetModelStatusRequest")
        request.model_spec.name = name
        answer = await self.rpc.ask(
            "ModelService/GetModelStatus", request, "GetModelStatusResponse"
        )
        expect(any(each.state == 30 for each in answer.model_version_status), answer)

    def kinds(self) -> list[tuple[int, Callable[[str], Awaitable[None]], Sequence[str]]]:
        """How often, what, to which of the models."""
        moving = ("swapped", "big", "labelled", "moved", "faulty")
        plain = ("steady", "rooted", "logged", *moving)
        return [
            (30, self.rest_rows, plain),
            (10, self.rest_columns, plain),
            (10, self.rest_label, ("labelled",)),
            (4, self.rest_regress, ("steady",)),
            (3, self.rest_new_connection, moving),
            (2, self.rest_half_closed, moving),
            (2, self.rest_status, moving),
            (20, self.rpc_predict, plain),
            (6, self.rpc_label, ("labelled",)),
            (3, self.rpc_zero_rows, plain),
            (3, self.rpc_classify, ("steady",)),
            (3, self.rpc_multi, ("steady",)),
            (2, self.rpc_status, moving),
            (2, self.rest_busy, ("busy",)),
        ]

    def start(self, request: Callable[[str], Awaitable[None]], name: str) -> None:
        kind = f"{request.__name__} {name}"  # type: ignore[attr-defined]
        task = asyncio.ensure_future(self.tally.good(kind, request(name)))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def stream(self, rate: float, stop: asyncio.Event) -> None:
        """Open loop: requests begin when it is their time, whether others are answered or not."""
        loop = asyncio.get_running_loop()
        kinds = self.kinds()
        weights = [weight for weight, _, _ in kinds]
        next_s = loop.time()
        while not stop.is_set():
            next_s += self.dice.expovariate(rate)
            await asyncio.sleep(max(0.0, next_s - loop.time()))
            self.late_s.append(max(0.0, loop.time() - next_s))
            _, request, names = self.dice.choices(kinds, weights)[0]
            self.start(request, self.dice.choice(names))

    async def poison(self, stop: asyncio.Event, every_s: float) -> None:
        """Requests that arrive together, of which some must fail and the others must not."""
        while not await pause(stop, every_s):
            for _ in range(6):
                self.start(self.rest_rows, "rooted")
                self.start(self.rpc_predict, "rooted")
            makers = (self._bad_rest, self._bad_rpc, self._leave_rest, self._leave_rpc)
            await asyncio.gather(
                *(self.tally.bad(f"poison {make.__name__}", make()) for make in makers * 2)
            )
            self.tally.counts["poisoned bursts"] += 1

    async def _leave_rest(self) -> None:
        """Among those that wait for a batch, one that leaves."""
        _, writer = await self.rest.connect()
        writer.write(http_request("POST", "/v1/models/rooted:predict", b'{"instances": [9.0]}'))
        await asyncio.sleep(self.dice.choice((0.0, 0.0005, 0.001)))
        writer.transport.abort()

    async def _leave_rpc(self) -> None:
        request = predict_request("rooted", [9.0]).SerializeToString()
        call = self.rpc.call("PredictionService/Predict", request)
        await asyncio.sleep(self.dice.choice((0.0, 0.001, 0.002)))
        call.cancel()

    async def _bad_rest(self) -> None:
        body = b'{"instances": [4.0, -1.0]}'
        answer = await self.rest.ask("POST", "/v1/models/rooted:predict", body)
        expect(answer.status == 400 and b"assertion failed" in answer.body, answer)

    async def _bad_rpc(self) -> None:
        request = predict_request("rooted", [-2.0])
        try:
            await self.rpc.ask("PredictionService/Predict", request, "PredictResponse")
        except grpc.RpcError as error:
            code, text = error.code(), str(error.details())
            is_right = code is grpc.StatusCode.INVALID_ARGUMENT and "assertion failed" in text
            expect(is_right, f"{code} {text}")
        else:
            expect(False, "poison was answered")


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait; true when it is time to stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    return True
