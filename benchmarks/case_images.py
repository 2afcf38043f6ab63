"""Images: what carrying numbers costs, with models that hardly compute."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import simdjson
from contestants import OURS, YARDSTICK, bare_loop, echo, salver
from figures import RATIO, Result, least, most, ratios
from in_process import program_of
from json_codec import best_of
from stage import Stage, kinds, transports
from tasks import Task, image, mlp
from turns import chart

from salver.codecs.json.document import Document
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature, TensorSpec

BARE = "bare loop"
CONNECTIONS = 2  # of large bodies: one is read while another is computed
_SIGNATURE = Signature({"image": TensorSpec(DataType.FLOAT32, None)}, {})


def mlp_json(stage: Stage) -> Result:
    """One 28x28 image as JSON to an MLP."""
    result = Result("mlp")
    starts = {"Salver": salver(), BARE: bare_loop, **stage.others()}
    with stage.running(mlp(stage.models), starts) as servers:
        asked = {name: one for name, one in servers.items() if one.rest_url}
        race = stage.race({name: one.rest(16, stage.scratch) for name, one in asked.items()})
    what = "28×28 image as JSON (16 kB) to an MLP, 16 connections"
    result.add(f"{what}: rate beside the bare loop", race.ratio("Salver", BARE), goal=least(1.5))
    result.add(f"{what}: CPU beside the bare loop", race.ratio("Salver", BARE, "cpu_ms"))
    for name in race.samples:
        result.add(f"{what}: {name}", race.of(name), "/s")
    colours = kinds(asked, {"Salver": OURS, BARE: YARDSTICK})
    groups = {"": race.bars(colours)}
    title = "REST, a 28×28 image as 16 kB of JSON to an MLP"
    result.charts.append(chart("performance-mlp", title, "requests per second", groups))
    return result


def image_json(stage: Stage) -> Result:
    """One 224x224x3 image as JSON to a model that slices a pixel."""
    result = Result("image")
    task = image(stage.models)
    starts = {"Salver": salver(), BARE: bare_loop, **stage.others(with_peers=True)}
    with stage.running(task, starts) as servers:
        asked = {name: one for name, one in servers.items() if one.rest_url}
        lanes = {name: one.rest(CONNECTIONS, stage.scratch) for name, one in asked.items()}
        race = stage.race(lanes)
    parse_ms, buffer_ms, run_ms = own_costs(task, stage.turns)
    beyond = {
        name: tuple(max(cost - run_ms, 0.0) for cost in race.of(name, "cpu_ms"))
        for name in race.samples
    }
    what = "224×224×3 image as JSON (3 MB)"
    best = min(
        (name for name in beyond if name in stage.peers),
        key=lambda name: statistics.median(beyond[name]),
        default="",
    )
    if best:
        less = ratios(beyond["Salver"], beyond[best])
        text = f"{what}: CPU per request beyond the model's run, beside the best peer ({best})"
        result.add(text, less, goal=most(0.5))
    less = ratios(beyond["Salver"], beyond[BARE])
    result.add(f"{what}: CPU per request beyond the model's run, beside the bare loop", less)
    against = tuple(cost / parse_ms for cost in beyond["Salver"])
    text = f"{what}: CPU per request beyond the model's run, beside simdjson's own parse"
    result.add(text, against, goal=most(2.2))
    against = tuple(cost / buffer_ms for cost in beyond["Salver"])
    result.add(f"{text} into a flat buffer", against)
    decode, parse = codec_times(task)
    result.add(f"{what}: our decoding alone, beside simdjson's own parse", (decode / parse,), RATIO)
    result.add(f"{what}: rate beside the bare loop", race.ratio("Salver", BARE))
    result.add("simdjson's own parse of it", (parse_ms,), "ms")
    result.add("simdjson's own parse of it, into a flat buffer", (buffer_ms,), "ms")
    result.add("the model's own run", (run_ms,), "ms")
    for name in race.samples:
        result.add(f"{what}: CPU per request of {name}", race.of(name, "cpu_ms"), "ms")
    colours = kinds(asked, {"Salver": OURS, BARE: YARDSTICK})
    groups = {"": race.bars(colours, "cpu_ms")}
    title = "REST, a 224×224×3 image as 3 MB of JSON to a model that slices a pixel"
    result.charts.append(chart("performance-image", title, "CPU per request, ms", groups))
    return result


def own_costs(task: Task, turns: int) -> tuple[float, float, float]:
    """CPU milliseconds: simdjson's parse, the same into a flat buffer, one run of the model."""
    program = program_of(str(task.version))
    parses, buffers, runs = [], [], []
    for _ in range(max(turns, 3)):
        parses.append(cpu_ms(lambda: simdjson.Parser().parse(task.body)))
        buffers.append(cpu_ms(lambda: flat(task.body)))
        runs.append(cpu_ms(lambda: program.run_inline([task.rows])))
    return statistics.median(parses), statistics.median(buffers), statistics.median(runs)


def flat(body: bytes) -> object:
    return simdjson.Parser().parse(body)["instances"].as_buffer(of_type="d")


def cpu_ms(function: Callable[[], object], calls: int = 40) -> float:
    """CPU milliseconds of one call."""
    function()
    before_s = time.process_time()
    for _ in range(calls):
        function()
    return (time.process_time() - before_s) / calls * 1000


def codec_times(task: Task) -> tuple[float, float]:
    """Seconds of our decoding of the body to an array, and of simdjson's parse of it."""
    (rows,) = Document(task.body).predict_inputs("", _SIGNATURE).arrays
    if not np.array_equal(rows, task.rows):
        raise RuntimeError("the array is not what was sent")
    decode = best_of(lambda: Document(task.body).predict_inputs("", _SIGNATURE))
    return decode, best_of(lambda: simdjson.Parser().parse(task.body))


def image_grpc(stage: Stage) -> Result:
    """One 224x224x3 image over gRPC, sent in either way."""
    result = Result("image_grpc")
    ways = transports()
    ours = {f"Salver, {way}": salver(f"--grpc_transport={way}", name=way) for way in ways}
    ours = ours or {"Salver": salver()}
    groups = {}
    for form in ("float_val", "tensor_content"):
        task = image(stage.models, is_content=form == "tensor_content")
        with stage.running(task, {**ours, **stage.others()}) as servers:
            asked = {name: one for name, one in servers.items() if one.grpc_port}
            answer_bytes = asked[next(iter(ours))].answer_bytes
            echoes = {
                "grpc.aio echo": echo("rpc_echo.py", answer_bytes),
                "bare HTTP/2 echo": echo("http2_echo.py", answer_bytes),
            }
            with stage.running(task, echoes) as started:
                asked |= started
                lanes = {
                    name: one.grpc(CONNECTIONS, 1, stage.scratch) for name, one in asked.items()
                }
                race = stage.race(lanes)
        colours = kinds(asked, {**dict.fromkeys(ours, OURS), **dict.fromkeys(echoes, YARDSTICK)})
        groups[form] = race.bars(colours, "cpu_ms")
        for one in ours:
            for other in echoes:
                text = f"gRPC, {one}, 224×224×3 image as {form}, beside the {other}"
                result.add(f"{text}: rate", race.ratio(one, other))
                result.add(f"{text}: CPU per call", race.ratio(one, other, "cpu_ms"))
            text = f"gRPC, {one}, 224×224×3 image as {form}"
            result.add(f"{text}: CPU per call", race.of(one, "cpu_ms"), "ms")
    title = "gRPC, a 224×224×3 image (600 kB) to a model that slices a pixel"
    result.charts.append(chart("performance-image-grpc", title, "CPU per call, ms", groups))
    return result
