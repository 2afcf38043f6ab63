"""CPU per request of two servers that know of each other, beside one server with the same models.

    python benchmarks/two_nodes.py [rest] [grpc] [--turns 7] [--seconds 2]

There are two models, a and b. One server has both. Of the two, one has a and the other b; they know
of each other by a map of peers, with a token. At each server sixteen requests are under way at any
time, in three ways that take turns in an order that is drawn anew:

* one: all at the server that has both;
* two: each at the server that has its model, as clients that read the map send them;
* any: half of each model's at either server, as a balancer that knows nothing sends them; half of
  all requests are handed on.

The CPU is that of all servers of a way, with all of their processes. Needs TensorFlow, to make the
model, wrk and h2load. Linux only.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import tasks
from figures import Result, most, table
from load import Measured, Server, h2load, wrk
from processes import until_answered
from tasks import PREDICT, Task
from turns import Lane, Race, Sample, take_turns

from salver._pb import message_class

TOKEN = "a-secret-of-both-servers"
APIS = ("rest", "grpc")
MOST_CPU = 1.1
UNDER_WAY = 16  # at each server
HOLDERS = {"a": "first", "b": "second"}


@dataclass(frozen=True)
class Stream:
    """Requests for a model at a server, so many under way."""

    server: Server
    model: str
    calls: int


Load = Callable[[Stream, float, Path], Measured]


def started(name: str, models: Sequence[str], task: Task, place: Path) -> Server:
    listed = [{"name": model, "base_path": str(task.base_path)} for model in models]
    config = place / f"{name}.json"
    config.write_text(json.dumps({"models": listed}))
    peers = ("peer_map_file=map.json", f"peer_name={name}", "peer_token_file=token")
    flags = tuple(f"--{flag.replace('_file=', f'_file={place}/')}" for flag in peers)
    alone = len(models) == len(HOLDERS)
    return Server(
        (f"--model_config_file={config}", *(() if alone else flags)), place / f"{name}.log"
    )


def write_map(place: Path, servers: dict[str, Server]) -> None:
    peers = {
        name: {"rest": f"127.0.0.1:{one.rest_port}", "grpc": f"127.0.0.1:{one.grpc_port}"}
        for name, one in servers.items()
    }
    models = {model: {"nodes": [name]} for model, name in HOLDERS.items() if name in servers}
    new = place / "map.new"
    new.write_text(json.dumps({"schema": 1, "generation": 1, "peers": peers, "models": models}))
    new.rename(place / "map.json")


def rest_path(model: str) -> str:
    return f"/v1/models/{model}:predict"


def message_to(model: str, task: Task) -> bytes:
    request = message_class("tensorflow.serving.PredictRequest")()
    request.ParseFromString(task.message)
    request.model_spec.name = model
    sent: bytes = request.SerializeToString()
    return sent


def rest(body: Path) -> Load:
    def load(stream: Stream, seconds: float, place: Path) -> Measured:
        url = f"http://127.0.0.1:{stream.server.rest_port}{rest_path(stream.model)}"
        return wrk(url, body, stream.calls, max(1, round(seconds)), place)

    return load


def rpc(task: Task, size: int) -> Load:
    def load(stream: Stream, seconds: float, place: Path) -> Measured:
        url = f"http://127.0.0.1:{stream.server.grpc_port}{PREDICT}"
        message = message_to(stream.model, task)
        each = stream.calls // 2
        return h2load(
            url, message, size, 2, max(1, round(seconds)), place, calls_each=each, is_timed=False
        )

    return load


def lane_of(load: Load, streams: Sequence[Stream], place: Path) -> Lane:
    """All streams at once; the CPU is that of their servers."""
    servers = {id(stream.server): stream.server for stream in streams}.values()
    places = [place / str(number) for number in range(len(streams))]
    for each in places:
        each.mkdir(exist_ok=True)

    def run(seconds: float) -> Sample:
        before_s = sum(server.cpu_s() for server in servers)
        with ThreadPoolExecutor(len(streams)) as pool:
            seen = list(pool.map(load, streams, [seconds] * len(streams), places))
        answers = sum(each.answers for each in seen)
        if sum(each.refused for each in seen) > len(seen) or not answers:  # the end may cut one off
            raise RuntimeError(f"of {answers} some were refused: {seen}")
        cpu_s = sum(server.cpu_s() for server in servers) - before_s
        return Sample(sum(each.rate for each in seen), 1e3 * cpu_s / answers, 0.0, 0.0)

    return run


def answer_bytes(server: Server, model: str, task: Task) -> int:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        return len(channel.unary_unary(PREDICT)(message_to(model, task), 60))


def ways(one: Server, two: dict[str, Server]) -> dict[str, list[Stream]]:
    half = UNDER_WAY // 2
    return {
        "one": [Stream(one, model, half) for model in HOLDERS],
        "two": [Stream(two[name], model, UNDER_WAY) for model, name in HOLDERS.items()],
        "any": [Stream(server, model, half) for model in HOLDERS for server in two.values()],
    }


def raced(chosen: argparse.Namespace, place: Path, stack: ExitStack) -> dict[str, Race]:
    task = tasks.small(chosen.models)
    body = place / "body.json"
    body.write_bytes(task.body)
    (place / "token").write_text(TOKEN)
    write_map(place, {})
    one = started("one", tuple(HOLDERS), task, place)
    two = {name: started(name, (model,), task, place) for model, name in HOLDERS.items()}
    for server in (one, *two.values()):
        stack.callback(server.stop)
    write_map(place, two)
    for server in (one, *two.values()):
        for model in HOLDERS:
            url = f"http://127.0.0.1:{server.rest_port}{rest_path(model)}"
            until_answered(server, url, task.body)
    sizes = {answer_bytes(one, model, task) for model in HOLDERS}
    loads = {"REST": rest(body), "gRPC": rpc(task, min(sizes))}
    return {
        api: take_turns(
            {name: lane_of(load, streams, place) for name, streams in ways(one, two).items()},
            chosen.turns,
            chosen.seconds,
        )
        for api, load in loads.items()
        if api.lower() in chosen.apis
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("apis", nargs="*", default=APIS, metavar="|".join(APIS))
    arguments.add_argument("--turns", type=int, default=7)
    arguments.add_argument("--seconds", type=float, default=2)
    arguments.add_argument("--models", type=Path, default=tasks.cache() / "models")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        races = raced(chosen, Path(made), stack)
    result = Result("two_nodes")
    for api, race in races.items():
        two, any_one = (race.ratio(way, "one", "cpu_ms") for way in ("two", "any"))
        result.add(f"{api}: CPU per request, two beside one", two, goal=most(MOST_CPU))
        result.add(f"{api}: CPU per request, half of them handed on", any_one)
        cpu_us = tuple(1e3 * each for each in race.of("one", "cpu_ms"))
        result.add(f"{api}: CPU per request of one", cpu_us, "µs")
    print(table(result.figures))


if __name__ == "__main__":
    main()
