"""The code blocks of the documents, and how they are run.

A page is run from its top to its end, in an empty directory. What stands directly above a block
says how it is taken, in a comment that readers of the page do not see:

- `<!-- not run: REASON -->`: it is not;
- `<!-- file: NAME -->`: it is that file, for the commands of the page, also of those above it;
- `<!-- parses as: MESSAGE -->`: a protocol buffer in text form;
- `<!-- output varies -->`: the command is run, and what it prints is not compared.

Else the language of the block decides: `python` is run, and of `console` what stands behind each
`$`. What follows a command, or stands in the block of no language behind a program, is what it
prints; `…` stands for anything. A server stays until the next one, or the end of the page; a store
(`rclone serve`) stays beside it. What `export` sets holds for the commands that follow.
"""

import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

import yaml
from dockerfile_parse import DockerfileParser
from google.protobuf import text_format

from salver._pb import POOL, message_class
from salver.cli.commands import COMMANDS
from tests.integration.serving import eventually, free_port

__all__ = ["ROOT", "Block", "Page", "blocks_of", "copy_models", "pages"]

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(
    r"(?:^ *<!-- (?P<marker>[^>\n]*?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_STORE = "rclone serve "
_SERVERS = ("salver serve ", "tensorflow_model_server ")
_READY_S = 120.0
_COMMAND_S = 300.0
_NEEDS_NO_RUN = ("text", "html", "svg")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        where: file and line.
        marker: what stands above it.
    """

    where: str
    marker: str
    language: str
    text: str

    def marked(self, key: str) -> str | None:
        """What a marker says behind its key; None where it is another."""
        found, separator, said = self.marker.partition(":")
        return said.strip() if separator and found == key else None


def pages() -> list[Path]:
    """Every page whose blocks are run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "examples/README.md"]


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in their order."""
    text = page.read_text()
    return [
        Block(
            f"{page.relative_to(ROOT)}:{text[: found.start('text')].count(chr(10))}",
            found["marker"] or "",
            found["language"],
            re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
        )
        for found in _BLOCK.finditer(text)
    ]


@dataclass(slots=True)
class Page:
    """Runs the blocks of one page.

    Attributes:
        directory: where.
        stand_in: makes what `salver demo --write_models=DIR` writes, where that is no command.
    """

    directory: Path
    stand_in: Callable[[Path], None]
    rest_port: int = field(default_factory=free_port)
    grpc_port: int = field(default_factory=free_port)
    server: "subprocess.Popen[bytes] | None" = None
    store: "subprocess.Popen[bytes] | None" = None
    store_port: int = field(default_factory=free_port)
    exported: dict[str, str] = field(default_factory=dict)
    ran: int = 0

    def run(self, blocks: Sequence[Block]) -> None:
        """All of them; fails where one does not do what the page says."""
        for block in blocks:
            if (name := block.marked("file")) is not None:
                path = self.directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self._here(block.text))
        for at, block in enumerate(blocks):
            following = blocks[at + 1] if at + 1 < len(blocks) else None
            self._run(block, following)

    def close(self) -> None:
        """Stop the server, and the store."""
        self._stop_server()
        if self.store is not None:
            self.store.terminate()
            self.store.wait(60)
            self.store = None

    def _stop_server(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(60)
            self.server = None

    def _run(self, block: Block, following: Block | None) -> None:
        if block.marked("not run") or block.marked("file"):
            return
        self.ran += 1
        if (message := block.marked("parses as")) is not None:
            text_format.Parse(block.text, message_class(message)(), descriptor_pool=POOL)
            return
        match block.language:
            case "python":
                expected = None
                if following is not None and not following.language and not following.marker:
                    expected = following.text
                self._python(block, expected)
            case "console" | "sh":
                self._console(block)
            case "yaml":
                list(yaml.safe_load_all(block.text))
            case "json":
                json.loads(block.text)
            case "dockerfile":
                parser = DockerfileParser(str(self.directory))
                parser.content = block.text
                assert parser.structure, block.where
            case "":
                pass  # what the program above it prints
            case other:
                assert other in _NEEDS_NO_RUN, f"{block.where}: nobody knows how to run {other!r}"

    def _python(self, block: Block, expected: str | None) -> None:
        printed = self._shell([sys.executable, "-c", self._here(block.text)], block)
        if expected is not None:
            _compare(printed, expected, block)

    def _console(self, block: Block) -> None:
        is_plain = block.language == "sh"
        for command, expected in _commands(block.text, is_plain=is_plain):
            if command.startswith(_SERVERS):
                self._serve(command, block)
                continue
            if command.startswith(_STORE):
                self._keep(command)
                continue
            if command.startswith("export "):
                for word in shlex.split(self._here(command))[1:]:
                    name, _, value = word.partition("=")
                    self.exported[name] = value
                continue
            if command.startswith("salver demo --write_models=") and not _has("demo"):
                self.stand_in(self.directory / command.partition("=")[2].split()[0])
                continue
            self._await_files(command)
            printed = self._shell(["bash", "-c", f"set -o pipefail; {self._here(command)}"], block)
            if expected and block.marker != "output varies":
                _compare(printed, self._here(expected), block)

    def _await_files(self, command: str) -> None:
        """A person types no command within the moment in which a server writes what it is about."""
        for pattern in re.findall(r"(?<=\s)[\w./-]+\*[\w.*-]*", command):
            eventually(pattern, partial(self._any_of, pattern))

    def _any_of(self, pattern: str) -> bool:
        return any(self.directory.glob(pattern))

    def _serve(self, command: str, block: Block) -> None:
        self._stop_server()
        command = command.partition("  #")[0].strip()
        words = shlex.split(self._here(command))
        for flag, port in (("--rest_api_port", self.rest_port), ("--port", self.grpc_port)):
            if not any(word.startswith(f"{flag}=") for word in words):
                words.append(f"{flag}={port}")
        ports = [int(w.partition("=")[2]) for w in words if w.startswith("--rest_api_port=")]
        port = ports[0] or self.grpc_port
        words[0] = str(Path(sys.executable).with_name(words[0]))
        with (self.directory / "server.log").open("wb") as log:
            self.server = subprocess.Popen(
                [*words, "--host=127.0.0.1"],
                cwd=self.directory,
                env=self._environment(),
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + _READY_S
        while not _is_ready(port):
            said = (self.directory / "server.log").read_text(errors="replace")
            assert self.server.poll() is None, f"{block.where}: {command}\n{said}"
            assert time.monotonic() < until_s, f"{block.where}: {command}\n{said}"
            time.sleep(0.1)

    def _keep(self, command: str) -> None:
        """Start a store, which stays until the end of the page."""
        self.store = subprocess.Popen(
            shlex.split(self._here(command)),
            cwd=self.directory,
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually("the store listens", lambda: _listens(self.store_port))

    def _shell(self, words: Sequence[str], block: Block) -> str:
        done = subprocess.run(
            words,
            cwd=self.directory,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"{block.where}: {words[-1]}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _here(self, text: str) -> str:
        """A text, with the ports of this run in place of the usual ones."""
        usual = (("8501", self.rest_port), ("8500", self.grpc_port), ("9000", self.store_port))
        for port, own in usual:
            text = text.replace(port, str(own))
        return text

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(self.directory / ".cache"),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
            "COLUMNS": "100",
            **self.exported,
        }


def _has(command: str) -> bool:
    return any(each.name == command for each in COMMANDS)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _is_ready(port: int) -> bool:
    return any(_says_ready(f"{scheme}://127.0.0.1:{port}") for scheme in ("http", "https"))


def _says_ready(url: str) -> bool:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    try:
        with urlopen(f"{url}/healthz/ready", timeout=10, context=trusting) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False


def _commands(text: str, *, is_plain: bool) -> Iterator[tuple[str, str]]:
    """Each command, and what follows it; one goes on behind a backslash, and while quotes do."""
    lines = text.splitlines()
    while lines:
        line = lines.pop(0)
        if not (is_plain or line.startswith("$ ")):
            continue
        command = line if is_plain else line[2:]
        while lines and (command.endswith("\\") or _is_open(command)):
            command += "\n" + lines.pop(0)
        printed = []
        while lines and not (is_plain or lines[0].startswith("$ ")):
            printed.append(lines.pop(0))
        if command.strip():
            yield command, "\n".join(printed)


def _is_open(command: str) -> bool:
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return True
    return False


def _compare(printed: str, expected: str, block: Block) -> None:
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in expected.split("…"))
    pattern = pattern.replace(r"\ .*", r".*").replace(r".*\ ", r".*")
    assert re.fullmatch(pattern, " ".join(printed.split()), re.DOTALL), (
        f"{block.where}: the page says\n{expected}\nand it printed\n{printed}"
    )


def copy_models(model_path: Callable[[str], Path], directory: Path) -> None:
    """What `salver demo --write_models` writes, as far as the documents use it."""
    for name in ("half_plus_two", "half_plus_three", "matrix_half_plus_two"):
        shutil.copytree(model_path(name), directory / name)
    shutil.copytree(model_path("convnet"), directory / "digits")
    lite = model_path("lite_net")
    (version,) = [child for child in lite.iterdir() if child.name.isdecimal()]
    shutil.copy(version / "model.tflite", directory / "digits.tflite")
