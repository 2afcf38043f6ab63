"""What keys, limits and tracing cost a small model, end to end.

    python benchmarks/guarded.py [--turns 5] [--seconds 2]

Servers of half_plus_two side by side, loaded in turns over REST and gRPC, 16 calls at a time:

* off: no flag of any of it; its requests bring a key as well, so that all send the same bytes;
* keys: `--auth_config_file`, each request with a key, whose role has no limits;
* limits: the same, with a rate and a number of requests at a time that are never reached;
* all: limits, and spans of 1 % of the requests for a collector, which takes and forgets them.

Needs TensorFlow, to make the model, wrk, h2load and salver[otel].
"""

import argparse
import hashlib
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
import tasks
from figures import Result, least, table
from load import JSON_HEADERS, Measured, Server, h2load, wrk
from processes import Child, free_ports, until_answered
from tasks import NAME, PREDICT, REST_PATH, Task
from turns import Lane, Sample, take_turns

CALLS = 16
LEAST = 0.85
KEYS = {"keys": f"salver_keys_{'k' * 32}", "limits": f"salver_limits_{'l' * 32}"}
KEYS["all"] = KEYS["limits"]
AUTH = """schema: 1
anonymous: {verbs: [health]}
api_keys: {file: keys.txt}
roles:
  keys: {models: ["*"], verbs: [predict, metadata]}
  limits:
    models: ["*"]
    verbs: [predict, metadata]
    requests_per_second: 1000000
    burst: 1000000
    max_concurrent_requests: 1000
"""
COLLECTOR = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Sink(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_GET = do_POST
    def log_message(self, *_): ...
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Sink).serve_forever()
"""


def started(name: str, task: Task, place: Path, collector: int, stack: ExitStack) -> Server:
    flags = [f"--model_name={NAME}", f"--model_base_path={task.base_path}"]
    if name != "off":
        flags.append(f"--auth_config_file={place / 'auth.yaml'}")
    more = {}
    if name == "all":
        more = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector}",
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.01",
        }
    server = Server(flags, place / f"{name}.log", more=more)
    stack.callback(server.stop)
    url = f"http://127.0.0.1:{server.rest_port}{REST_PATH}"
    until_answered(server, url, task.body, headers={**JSON_HEADERS, **headers_of(name)})
    return server


def headers_of(name: str) -> dict[str, str]:
    return {"x-api-key": KEYS.get(name, KEYS["limits"])}


def lanes_of(name: str, server: Server, task: Task, place: Path) -> dict[str, Lane]:
    body = place / "body.json"
    body.write_bytes(task.body)
    url = f"http://127.0.0.1:{server.rest_port}{REST_PATH}"
    address = f"127.0.0.1:{server.grpc_port}"
    headers = headers_of(name)
    with grpc.insecure_channel(address) as channel:
        metadata = tuple(headers.items())
        answer_bytes = len(channel.unary_unary(PREDICT)(task.message, 60, metadata))

    def rest(seconds: float) -> Measured:
        return wrk(url, body, CALLS, max(1, round(seconds)), place, {**JSON_HEADERS, **headers})

    def rpc(seconds: float) -> Measured:
        return h2load(
            f"http://{address}{PREDICT}",
            task.message,
            answer_bytes,
            4,
            max(1, round(seconds)),
            place,
            calls_each=CALLS // 4,
            is_timed=False,
            headers=headers,
        )

    def measured(load: Callable[[float], Measured]) -> Lane:
        def run(seconds: float) -> Sample:
            before_s = server.cpu_s()
            seen = load(seconds)
            if seen.refused or not seen.answers:
                raise RuntimeError(f"{name}: {seen.refused} of {seen.answers} were refused")
            cpu_ms = 1e3 * (server.cpu_s() - before_s) / seen.answers
            return Sample(seen.rate, cpu_ms, seen.p50_ms, seen.p99_ms)

        return run

    return {f"REST, {name}": measured(rest), f"gRPC, {name}": measured(rpc)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--turns", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=2)
    arguments.add_argument("--models", type=Path, default=tasks.cache() / "models")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as made, ExitStack() as stack:
        place = Path(made)
        (place / "auth.yaml").write_text(AUTH)
        sums = {key: hashlib.sha256(key.encode()).hexdigest() for key in KEYS.values()}
        (place / "keys.txt").write_text(
            "".join(f"{key.split('_')[1]} {sum} {key.split('_')[1]}\n" for key, sum in sums.items())
        )
        [collector] = free_ports(1)
        sink = Child([sys.executable, "-c", COLLECTOR, str(collector)], place / "collector.log")
        stack.callback(sink.stop)
        task = tasks.small(chosen.models)
        lanes: dict[str, Lane] = {}
        for name in ("off", *KEYS):
            server = started(name, task, place, collector, stack)
            lanes |= lanes_of(name, server, task, place)
        race = take_turns(lanes, chosen.turns, chosen.seconds)
    result = Result("guarded")
    for api in ("REST", "gRPC"):
        for name in KEYS:
            ours, off = f"{api}, {name}", f"{api}, off"
            goal = least(LEAST) if name == "all" else None
            result.add(f"{ours}: rate beside off", race.ratio(ours, off), goal=goal)
            result.add(f"{ours}: CPU per request beside off", race.ratio(ours, off, "cpu_ms"))
    print(table(result.figures))


if __name__ == "__main__":
    main()
