"""What the examples have in common: commands run and shown as in a text one could follow by hand.

Each example works in a directory of its own, `.examples/NAME`, below the directory it is started
in. Every command is printed behind a `$` before it runs.
"""

import argparse
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

PATIENCE_S = 120.0
COMMANDS = Path(sys.executable).parent
READY = re.compile(r"Exporting HTTP/REST API at:\S+ \.\.\.")


class Failed(Exception):
    """Something did not go as the example says; the text says what."""


@dataclass(frozen=True)
class Options:
    """The command line of an example: whether it ends by itself, and which ports it may take."""

    once: bool
    any_port: bool

    def port(self, usual: int) -> int:
        """`usual` where it is free, else any free port; with `--any-port` always such a one."""
        for port in (0,) if self.any_port else (usual, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
                return int(probe.getsockname()[1])
        raise Failed("No port is free.")


def read_options(text: str) -> Options:
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="stop where it would wait for you")
    parser.add_argument(
        "--any-port", action="store_true", help="take any free port, not the usual one"
    )
    # So that what is running is stopped too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return Options(**vars(parser.parse_args()))


@contextmanager
def told() -> Iterator[None]:
    """End the program with a plain text when the example fails or is interrupted."""
    try:
        yield
    except Failed as failure:
        sys.exit(f"\n{failure}")
    except KeyboardInterrupt:
        say("\nStopped.")


def say(text: str = "") -> None:
    print(text, flush=True)


def step(title: str) -> None:
    say(f"\n== {title}\n")


def must(is_so: bool, what: str) -> None:
    """Fail unless something is as the tutorial says."""
    if not is_so:
        raise Failed(f"This should be so: {what}.")


def work_directory(name: str) -> Path:
    """`.examples/NAME`, empty."""
    directory = Path(".examples") / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def _shown(arguments: list[str]) -> str:
    """A command line as one would type it, a flag per line where it is long."""
    here = str(Path.cwd())
    words = [shlex.quote(each.removeprefix(f"{here}/")).replace(here, "$PWD") for each in arguments]
    line = " ".join(words)
    if len(line) <= 96:
        return line
    lines = [words[0]]
    for word in words[1:]:
        if word.startswith("-"):
            lines.append(word)
        else:
            lines[-1] += f" {word}"
    return " \\\n    ".join(lines)


def _environment() -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{COMMANDS}{os.pathsep}{os.environ.get('PATH', '')}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def run(*arguments: str, shown: str | None = None) -> str:
    """Run a command (`python`, `salver`, `curl`); show it and what it prints."""
    say(f"$ {shown or _shown(list(arguments))}")
    where = _environment()["PATH"]
    program = sys.executable if arguments[0] == "python" else shutil.which(arguments[0], path=where)
    if program is None:
        raise Failed(f"There is no `{arguments[0]}` here.")
    ended = subprocess.run(
        [program, *arguments[1:]],
        env=_environment(),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
        check=False,
    )
    if ended.returncode != 0:
        raise Failed(f"That ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    if ended.stdout:
        say(ended.stdout.rstrip())
    return ended.stdout


def curl(*arguments: str) -> str:
    """Run curl, as a tutorial says; its progress meter is left out."""
    return run("curl", "-sS", *arguments, shown=_shown(["curl", *arguments]))


def run_script(script: Path, *arguments: str) -> str:
    """Run a Python program of the example."""
    return run("python", os.path.relpath(script), *arguments)


@dataclass(frozen=True)
class Server:
    """A server that runs, and where it writes its log."""

    url: str
    log: Path
    process: "subprocess.Popen[bytes]"

    def states(self, model: str) -> dict[int, str]:
        """Version → state; empty while the model is unknown."""
        answer = requests.get(f"{self.url}/v1/models/{model}", timeout=10)
        versions = answer.json().get("model_version_status", ())
        return {int(each["version"]): each["state"] for each in versions}

    def wait_until(self, model: str, version: int) -> None:
        """Wait until a version is AVAILABLE."""
        until = time.monotonic() + PATIENCE_S
        while self.states(model).get(version) != "AVAILABLE":
            if time.monotonic() > until:
                raise Failed(f"{model} {version} is not available; see {self.log}")
            time.sleep(0.1)

    def print_log(self, *parts: str) -> None:
        """Show the lines of the log that contain one of `parts`, without their prefix."""
        for line in self.log.read_text(errors="replace").splitlines():
            if any(part in line for part in parts):
                say(re.sub(r"^.*?] ", "  ", line))


@contextmanager
def model_server(options: Options, log: Path, rest_port: int, *flags: str) -> Iterator[Server]:
    """`tensorflow_model_server`, ready: the line the tutorials wait for is in its log.

    It is the tutorials' command, and listens on the loopback only. At the end it is asked to stop
    with SIGTERM, and must end with 0.
    """
    grpc = options.port(8500)
    command = ["tensorflow_model_server", "--host=127.0.0.1", f"--rest_api_port={rest_port}"]
    if grpc != 8500:
        command.append(f"--port={grpc}")
    command += flags
    say(f"$ {_shown(command)}")
    command[0] = str(COMMANDS / command[0])
    with log.open("wb") as output:
        # A session of its own: Ctrl-C reaches only this program, which then stops the server.
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    server = Server(f"http://localhost:{rest_port}", log, process)
    try:
        _wait_until_ready(server)
        yield server
    finally:
        stop(process)
    if process.returncode != 0:
        raise Failed(f"The server ended with {process.returncode}:\n{log.read_text()}")


def _wait_until_ready(server: Server) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = READY.search(server.log.read_text(errors="replace"))
        if found:
            say(f"  ... {found.group()}")
            return
        if server.process.poll() is not None:
            raise Failed(f"The server did not start:\n{server.log.read_text(errors='replace')}")
        time.sleep(0.1)
    raise Failed(f"The server was not ready in time; see {server.log}")


def stop(process: "subprocess.Popen[Any]") -> None:
    """Ask a child to end with SIGTERM, and see to it that it does."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
