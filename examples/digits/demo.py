"""Train a model, serve it, ask it, and swap it for a better one while it serves.

    python demo.py [--once]

Everything it makes lies in `.demo`. With `--once` it stops the server at the end instead of
waiting for Ctrl-C.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import requests
from sklearn.datasets import load_digits

HERE = Path(__file__).resolve().parent
WORK = Path(".demo")
MODEL = WORK / "models" / "digits"
LOG = WORK / "server.log"
USUAL_PORT = 8501
PATIENCE_S = 120.0
GREYS = " .:-=+*#%@"


def say(text: str = "") -> None:
    print(text, flush=True)


def train(version: int) -> None:
    """Train and publish in a process of its own, as a training job would."""
    say(f"Training version {version} ...")
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    job = subprocess.run(
        [sys.executable, HERE / "train.py", MODEL, str(version)],
        env=quiet,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if job.returncode != 0:
        sys.exit(f"The training failed:\n{job.stdout}")
    say(f"  published as {MODEL / str(version)}")


def pick_port() -> int:
    """The usual REST port where it is free, else any free one."""
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    sys.exit("No port is free.")


@contextmanager
def server(port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """`salver serve`, ready; at the end it is asked to stop with SIGTERM, and must do so well."""
    command = ["salver", "serve", str(MODEL), f"--rest_api_port={port}"]
    say(f"Starting: {' '.join(command)}")
    command[0] = str(Path(sys.executable).with_name("salver"))
    with LOG.open("wb") as log:
        # A session of its own: Ctrl-C reaches only this program, which then stops the server.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}")
        yield process
    finally:
        stop(process)
    if process.returncode != 0:
        sys.exit(f"That should have been 0. Its log:\n{LOG.read_text(errors='replace')}")


def stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    say(f"The server stopped with exit status {process.returncode}.")


def wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if process.poll() is not None:
            sys.exit(f"The server did not start:\n{LOG.read_text(errors='replace')}")
        try:
            status = requests.get(f"{url}/v1/models/digits", timeout=10)
        except requests.ConnectionError:
            pass
        else:
            states = [each["state"] for each in status.json().get("model_version_status", ())]
            if "AVAILABLE" in states:
                return
        time.sleep(0.1)
    sys.exit(f"The server was not ready in time; see {LOG}")


def predict(url: str, images: "np.ndarray[Any, Any]") -> tuple[str, "np.ndarray[Any, Any]"]:
    """The version that answered, and the likeliest digit of each image."""
    answer = requests.post(
        f"{url}/v1/models/digits:predict", json={"instances": images.tolist()}, timeout=30
    )
    answer.raise_for_status()
    probabilities = np.array(answer.json()["predictions"])
    return answer.headers["salver-model-version"], probabilities.argmax(axis=1)


def draw(image: "np.ndarray[Any, Any]") -> str:
    """A picture in text, two characters a pixel."""
    return "\n".join(
        "    " + "".join(GREYS[int(grey * len(GREYS) / 17)] * 2 for grey in row).rstrip()
        for row in image
    )


def show_predictions(
    url: str, images: "np.ndarray[Any, Any]", labels: "np.ndarray[Any, Any]"
) -> None:
    version, digits = predict(url, images)
    marks = ["" if digit == label else " <" for digit, label in zip(digits, labels, strict=True)]
    say(f"\nTen test images, answered by version {version}:")
    say("    label       " + "".join(f"{label:3d}  " for label in labels[:10]))
    say("    prediction  " + "".join(f"{digits[i]:3d}{marks[i]:2s}" for i in range(10)).rstrip())
    right = int((digits == labels).sum())
    say(f"  right for {right} of all {len(labels)} test images ({right / len(labels):.1%})")


def ask_until(url: str, images: "np.ndarray[Any, Any]", wanted: str) -> Counter[str]:
    """Ask again and again until version `wanted` answers; how often each version did.

    Every request must be answered: the first that is not raises.
    """
    answered: Counter[str] = Counter()
    until = time.monotonic() + PATIENCE_S
    while wanted not in answered:
        if time.monotonic() > until:
            raise TimeoutError(f"version {wanted} did not take over; see {LOG}")
        version, _ = predict(url, images[:1])
        answered[version] += 1
        time.sleep(0.02)
    return answered


def swap(url: str, images: "np.ndarray[Any, Any]") -> None:
    """Train and drop in version 2 while a client goes on asking."""
    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(ask_until, url, images, "2")
        train(version=2)
        answered = client.result()
    say(f"  version 2 took over; {answered['1']} requests before went to version 1, none failed")


def show_status(url: str) -> None:
    say(f"\nGET {url}/v1/models/digits")
    status = requests.get(f"{url}/v1/models/digits", timeout=10).json()
    for each in status["model_version_status"]:
        say(f"    version {each['version']}: {each['state']}")


def invite(url: str, image: "np.ndarray[Any, Any]") -> None:
    request = WORK / "request.json"
    request.write_text(json.dumps({"instances": [image.tolist()]}))
    say(f"\nIt is still serving. Draw a digit at {url}/, or try:")
    say(f"    curl -d @{request} {url}/v1/models/digits:predict")
    say(f"    curl {url}/v1/models/digits/metadata")
    say("Ctrl-C stops it.")


def run(once: bool) -> None:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    digits = load_digits()
    images, labels = digits.images[1300:], digits.target[1300:]
    train(version=1)
    port = pick_port()
    url = f"http://127.0.0.1:{port}"
    with server(port) as process:
        say(f"  it serves on {url} (its log: {LOG})")
        say(f"\nOne of the test images, a {labels[0]}:")
        say(draw(images[0]))
        show_predictions(url, images, labels)
        say("\nA better model, while the server runs:")
        swap(url, images)
        show_predictions(url, images, labels)
        show_status(url)
        if not once:
            invite(url, images[0])
            process.wait()  # for ever, or until Ctrl-C


def main() -> None:
    arguments = argparse.ArgumentParser(description="Serve a digits classifier and swap it.")
    arguments.add_argument("--once", action="store_true", help="stop at the end")
    once = arguments.parse_args().once
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is stopped too
    try:
        run(once)
    except KeyboardInterrupt:
        say("\nStopped.")


if __name__ == "__main__":
    main()
