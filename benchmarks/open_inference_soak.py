"""The Open Inference Protocol under load for minutes: no error, and memory that stays flat.

    python benchmarks/open_inference_soak.py [h2load] [triton] [--minutes 5]

* h2load: 8 connections, in turns of ten seconds REST over HTTP/1.1, REST over HTTP/2 with binary
  tensors, and gRPC; each answer is counted, and an answer that is not whole is an error;
* triton: Triton's Python client in an environment of its own (`soak_triton.py`): over REST and gRPC
  in turn, binary and JSON, small and large tensors, callbacks, streams, metadata, index,
  statistics, and requests that must fail. Each value is checked.

Exits with 1 when something failed, or when resident memory is not flat. Needs TensorFlow and
h2load.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from load import H2LOAD_HEADERS, Server, framed
from memory import FLAT, Memory
from peers import environment
from tasks import cache

from salver._pb import message_class
from salver.demo.models import Format, write_models

HERE = Path(__file__).resolve().parent
NAME = "half_plus_two"
TURN_S = 10
CLIENTS = 8
JUDGED_S = 120.0
CONFIG = """\
model_config_list {{
  config {{ name: "{name}" base_path: "{models}/{name}" model_platform: "tensorflow" }}
  config {{ name: "count" base_path: "{models}/count" model_platform: "python" }}
}}
"""
COUNT = """\
class Model:
    inputs = {"to": ("int64", [])}
    outputs = {"number": ("int64", [])}

    def predict(self, inputs):
        for number in range(1, int(inputs["to"]) + 1):
            yield {"number": number}
"""


def start(place: Path) -> Server:
    models = place / "models"
    write_models(models, Format.SAVED_MODEL)
    (models / "count" / "1").mkdir(parents=True)
    (models / "count" / "1" / "model.py").write_text(COUNT)
    config = place / "models.config"
    config.write_text(CONFIG.format(name=NAME, models=models))
    flags = [f"--model_config_file={config}", f"--trusted_model_paths={models}"]
    server = Server(flags, place / "server.log")
    body = b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[1]}]}'
    server.until_answered(f"/v2/models/{NAME}/infer", body)
    return server


# -- h2load ----------------------------------------------------------------------------------------


def forms(server: Server, place: Path) -> list[list[str]]:
    """What h2load is called with, for each form of request."""
    rows = np.arange(64, dtype=np.float32).reshape(64, 1)
    tensor = {"name": "x", "shape": [64, 1], "datatype": "FP32"}
    text = place / "infer.json"
    text.write_text(json.dumps({"inputs": [{**tensor, "data": rows.ravel().tolist()}]}))
    head = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": rows.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    binary = place / "infer.binary"
    binary.write_bytes(head + rows.tobytes())
    message = message_class("inference.ModelInferRequest")(
        model_name=NAME, inputs=[tensor], raw_input_contents=[rows.tobytes()]
    )
    grpc = place / "infer.grpc"
    grpc.write_bytes(framed(message.SerializeToString()))
    rest = f"http://127.0.0.1:{server.rest_port}/v2/models/{NAME}/infer"
    call = f"http://127.0.0.1:{server.grpc_port}/inference.GRPCInferenceService/ModelInfer"
    length = f"inference-header-content-length: {len(head)}"
    return [
        ["--h1", "-m1", "-d", str(text), rest],
        ["-m4", "-d", str(binary), "-H", length, rest],
        ["-m4", "-d", str(grpc), *H2LOAD_HEADERS, call],
    ]


def load(server: Server, place: Path, minutes: float) -> bool:
    """By h2load, form after form; whether no answer was missing or wrong."""
    asked = forms(server, place)
    answers, wrong, begun_s, turn = 0, 0, time.monotonic(), 0
    while time.monotonic() - begun_s < 60 * minutes:
        form = asked[turn % len(asked)]
        command = ["h2load", "-t1", f"-c{CLIENTS}", f"-D{TURN_S}", *form]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
        data = re.search(r"\((\d+)\) data", said)
        if counts is None or data is None:
            raise RuntimeError(f"h2load said: {said}")
        good, *bad = map(int, counts.groups())
        # 64 numbers take 256 bytes; an error over gRPC has a status of 200 and no data.
        short = good - min(good, int(data[1]) // 256)
        answers, wrong, turn = answers + good, wrong + sum(bad) + short, turn + 1
    print(f"h2load: {answers:,} answers, {wrong} failed, in {turn} turns")
    return wrong == 0 and answers > 0


# -- Triton's client -------------------------------------------------------------------------------


def loop(server: Server, place: Path, minutes: float) -> bool:
    """By Triton's client; whether all went well."""
    python = environment(cache() / "tritonclient")
    install = [str(python), "-m", "pip", "install", "--quiet", "tritonclient[http,grpc]"]
    subprocess.run(install, check=True)
    places = [f"127.0.0.1:{server.rest_port}", f"127.0.0.1:{server.grpc_port}"]
    command = [str(python), str(HERE / "soak_triton.py"), *places, str(60 * minutes)]
    log = place / "triton.log"
    with log.open("w") as errors:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False
        )
    if done.returncode:
        print(f"tritonclient: {log.read_text()[-2000:]}")
        return False
    said = json.loads(done.stdout.splitlines()[-1])
    print(
        f"tritonclient: {said['rounds']:,} rounds, {said['calls']:,} calls, {said['failed']} failed"
    )
    for text in said["first"]:
        print(f"    {text}")
    return said["failed"] == 0 and said["rounds"] > 0


def watched(server: Server, work: Callable[[], bool]) -> tuple[bool, Memory]:
    memory, is_over = Memory(), threading.Event()
    begun_s = time.monotonic()

    def watch() -> None:
        while not is_over.wait(1.0):
            memory.samples.append((time.monotonic() - begun_s, server.whole_mib()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return work(), memory
    finally:
        is_over.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="*", metavar="h2load|triton")
    parser.add_argument("--minutes", type=float, default=5.0)
    asked = parser.parse_args()
    is_good = True
    for kind in asked.kinds or ("h2load", "triton"):
        run = {"h2load": load, "triton": loop}[kind]
        with tempfile.TemporaryDirectory() as directory:
            place = Path(directory)
            server = start(place)
            try:
                went_well, memory = watched(server, lambda: run(server, place, asked.minutes))  # noqa: B023
            finally:
                server.stop()
        for line in memory.report():
            print(line)
        is_flat = 60 * asked.minutes < JUDGED_S or memory.growth() < FLAT
        is_good = is_good and went_well and is_flat
    sys.exit(not is_good)


if __name__ == "__main__":
    main()
