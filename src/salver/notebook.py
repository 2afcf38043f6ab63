"""`salver.serve`: a model of a notebook, served by a child process.

A live model is exported here, where its framework is; the server never imports it.
"""

import atexit
import os
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote, urlsplit

from salver.backends.selection import Selector
from salver.client import Client
from salver.client.answers import Outputs, ScoredClass
from salver.client.features import Example
from salver.errors import InvalidArgument, ServingError, hints_in_text
from salver.exporting import (
    NO_MODEL_HINT,
    NOTHING_ASKED,
    Asked,
    is_live,
    live_name,
    server_flags,
)
from salver.publishing import ONLY_WITH, publish
from salver.publishing.places import newest_version, versions_in
from salver.serving_process import ServerProcess, flag_arguments, free_port
from salver.sources.versions import parse_version
from salver.vocabulary.requests import Array

__all__ = ["RunningServer", "serve"]

_READY_TIMEOUT_S: Final = 120.0
_COLAB: Final = "google.colab"
# There the browser is on another machine, and comes to the port by way of Colab's own proxy, under
# whatever name that has today.
_COLAB_HOSTS: Final = "*,*.googleusercontent.com"

# The servers of this process by the names of their models: what makes `serve` of a name that is
# served already a new version of it. They outlive the variables of a notebook's cells, which are
# run again and again.
_running: "dict[str, RunningServer]" = {}
_serving = threading.RLock()


@dataclass(frozen=True, slots=True)
class _Words:
    """What a caller says of a model; see `publish`."""

    labels: Any = None
    about: Any = None
    asked: Asked = NOTHING_ASKED


class RunningServer:
    """A server in a child process, with one model; it ends with this process, or by `stop`.

    Attributes:
        name: of the model.
        url: of the REST API and of the playground.
        grpc_url: of the gRPC API; None where there is none.
        client: asks it over REST.
    """

    def __init__(
        self,
        name: str,
        model: str,
        ports: "tuple[int, int]",
        host: str,
        flags: Mapping[str, Any],
        scratch: Path,
        base_path: Path | None,
    ) -> None:
        """Start it; for `serve`, which waits until it answers.

        Args:
            name: of the model.
            model: what `salver serve` is to serve.
            ports: of REST and gRPC; 0 for no gRPC.
            host: the address it listens on.
            flags: further flags of the server.
            scratch: a directory of its own; it goes with the server.
            base_path: where its versions are put; None where they are the caller's.
        """
        port, grpc_port = ports
        self.name = name
        self._flags = dict(flags)
        self._model = model
        self._base_path = base_path
        reached = _reached(host)
        self.url = f"http://{reached}:{port}"
        self.grpc_url = f"grpc://{reached}:{grpc_port}" if grpc_port else None
        self.client = Client(self.url)
        usual: dict[str, Any] = {"max_num_load_retries": 0}
        if _COLAB in sys.modules:
            usual["allowed_hosts"] = _COLAB_HOSTS
        arguments = [
            f"{name}={model}",
            f"--host={host}",
            f"--rest_api_port={port}",
            f"--port={grpc_port}",
            *flag_arguments({**usual, **flags}),
        ]
        self._process = ServerProcess(arguments, scratch=scratch)

    # -- what it is asked --------------------------------------------------------------------------

    def predict(self, inputs: Any, **more: Any) -> Outputs:
        """Compute outputs; takes what `Client.predict` takes after the name of the model."""
        return self.client.predict(self.name, inputs, **more)

    def classify(self, examples: Sequence[Example], **more: Any) -> list[list[ScoredClass]]:
        """Classify examples; see `Client.classify`."""
        return self.client.classify(self.name, examples, **more)

    def regress(self, examples: Sequence[Example], **more: Any) -> Array:
        """Compute a value for each example; see `Client.regress`."""
        return self.client.regress(self.name, examples, **more)

    # -- what it is --------------------------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """Whether the child process is there."""
        return self._process.is_running

    @property
    def pid(self) -> int:
        """Of the child process."""
        return self._process.pid

    def logs(self, lines: int | None = None) -> str:
        """What the server has printed: all, or its last lines."""
        return self._process.logs(lines)

    def stop(self) -> None:
        """End it when the requests in flight are answered, and remove what was made for it."""
        with _serving:
            if _running.get(self.name) is self:
                del _running[self.name]
        self.client.close()
        self._process.stop()

    def __enter__(self) -> "RunningServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        state = f"at {self.url}" if self.is_running else "stopped"
        return f"<salver.RunningServer {self.name!r} {state}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: a link to the playground."""
        name = escape(self.name)
        if not self.is_running:
            return f"Model <b>{name}</b> is not served any more."
        if _COLAB in sys.modules:
            import_module(f"{_COLAB}.output").serve_kernel_port_as_window(urlsplit(self.url).port)
            return f"Model <b>{name}</b> is served; the link above opens its page."
        url = escape(self.url)
        page = f"{url}/#/model/{quote(self.name, safe='')}"
        return (
            f'Model <b>{name}</b> is served at <a href="{page}" target="_blank">{url}</a>: '
            f"<code>POST {url}/v1/models/{escape(quote(self.name, safe=''))}:predict</code>"
        )

    # -- for `serve` -------------------------------------------------------------------------------

    def wait_ready(self, version: int | None = None, timeout_s: float = _READY_TIMEOUT_S) -> None:
        """Wait until the model, or a version of it, answers.

        Raises:
            ServingError: it does not; with the server's text and the end of its log.
        """
        self._process.wait_ready(self.client, self.name, version=version, timeout_s=timeout_s)

    def takes(self, port: int, flags: Mapping[str, Any]) -> bool:
        """Whether it can serve a next version instead of a server that is asked for so."""
        is_same = port in (0, urlsplit(self.url).port) and dict(flags) == self._flags
        return is_same and self.is_running and self._base_path is not None

    def serves(self, path: str) -> bool:
        """Whether it serves the versions that are put under a path."""
        return self.is_running and self._base_path is None and path == self._model

    def update(
        self,
        model: Any,
        labels: Any,
        timeout_s: float,
        about: Any = None,
        asked: Asked = NOTHING_ASKED,
    ) -> None:
        """Publish the next version, and wait until it answers; else it goes again.

        Raises:
            ServingError: it cannot be published, or does not load; the last version stays.
        """
        assert self._base_path is not None
        version = _put(model, self._base_path, _Words(labels, about, asked))
        try:
            self.wait_ready(version, timeout_s)
        except ServingError:
            _remove(self._base_path / str(version))
            raise


@hints_in_text
def serve(
    model: Any,
    *,
    name: str | None = None,
    port: int = 0,
    grpc_port: int | None = None,
    host: str = "127.0.0.1",
    labels: Sequence[str] | str | os.PathLike[str] | None = None,
    about: Mapping[str, Any] | str | os.PathLike[str] | None = None,
    flags: Mapping[str, Any] | None = None,
    timeout_s: float = _READY_TIMEOUT_S,
    inputs: Any = None,
    outputs: Mapping[str, Any] | None = None,
) -> RunningServer:
    """Serve a model from a notebook or a script, in a child process.

    The server is the ordinary one: REST, gRPC and the playground. It ends with this process. A
    name that is served already gets the model as its next version, on the same port and without a
    request lost; where it needs other flags, the server is replaced. Types in an estimator that
    skops does not know are trusted: they are the caller's own.

    Args:
        model: any object that `publish` takes, such as a Keras model, a fitted estimator, a
            `torch.nn.Module` with `inputs`, or a function whose types are declared; or the path
            of a SavedModel, of a Python model, of a model directory (new versions in it are
            picked up), or of a file that `salver serve` takes.
        name: of the model; None for the one it or its directory has.
        port: of REST; 0 for a free one.
        grpc_port: None for a free one, 0 for no gRPC.
        host: the address to listen on.
        labels: names of the classes; see `publish`. Not with a model directory or a file.
        about: what the model says of itself; see `publish`. Not with those either.
        flags: further flags of the server, `{"enable_batching": True}`.
        timeout_s: how long the model may take to load.
        inputs: of a PyTorch module, or of a function; see `publish`.
        outputs: of a function; see `publish`.

    Returns:
        The server, when it answers.

    Raises:
        InvalidArgument: it is no model, or cannot be exported.
        NotFound: there is nothing at the path.
        ServingError: the model does not load, or the server does not start: with its own words, and
            the end of its log as the hint.

    Example:
        >>> server = salver.serve(model, name="digits")
        >>> server.predict(pictures)["output_0"].argmax(axis=1)
        array([7, 2, 1])
        >>> server.stop()
    """
    chosen = {**server_flags(model), **(flags or {})}
    words = _Words(labels, about, Asked(inputs, outputs))
    path = None if is_live(model) else _path(model)
    name = name or (live_name(model) if path is None else _name_of(path))
    if name.startswith("-") or any(sign in name for sign in "/:="):
        raise InvalidArgument(
            f"{name!r} cannot be the name of a model here",
            hint="Give one as name= that has no '/', ':' and '=' and does not begin with '-'.",
        )
    is_ours = path is None or _is_one_version(path)
    if labels is not None and not is_ours:
        raise InvalidArgument("labels belong into the version directory, as assets/labels.txt")
    if about is not None and not is_ours:
        raise InvalidArgument("about belongs into the version directory, as assets/salver.json")
    if path is not None and words.asked != NOTHING_ASKED:
        raise InvalidArgument("inputs and outputs are not to be said of a path")
    with _serving:
        there = _running.get(name)
        if there is not None and is_ours and there.takes(port, chosen):
            there.update(model, labels, timeout_s, about, words.asked)
            return there
        if there is not None and not is_ours and there.serves(str(path)):
            return there
        if there is not None:
            there.stop()
        server = _start(
            model,
            path if not is_ours else None,
            name,
            words,
            (port, grpc_port),
            host,
            chosen,
        )
        try:
            server.wait_ready(timeout_s=timeout_s)
        except BaseException:
            server.stop()
            raise
        _running[name] = server
        return server


def _start(
    model: Any,
    path: Path | None,
    name: str,
    words: _Words,
    ports: "tuple[int, int | None]",
    host: str,
    flags: Mapping[str, Any],
) -> RunningServer:
    """Start a server of the caller's own path, or of a directory made for the model."""
    scratch = Path(tempfile.mkdtemp(prefix="salver-"))
    try:
        base_path = None
        if path is None:
            base_path = scratch / "model"
            base_path.mkdir()
            _put(model, base_path, words)
        port = ports[0] or free_port(host)
        grpc_port = free_port(host) if ports[1] is None else ports[1]
        return RunningServer(
            name, str(path or base_path), (port, grpc_port), host, flags, scratch, base_path
        )
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _put(model: Any, base_path: Path, words: _Words) -> int:
    """Put a version into a directory of ours; one that exists, by a link. Gives its number."""
    if is_live(model) or words.labels is not None or words.about is not None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=ONLY_WITH)  # the server has them
            return publish(
                *(model, base_path),
                labels=words.labels,
                about=words.about,
                check=False,
                inputs=words.asked.inputs,
                outputs=words.asked.outputs,
            ).version
    path = _path(model)
    if _is_code(path):  # a server runs no code but of the path it is given, links followed
        return publish(path, base_path, check=False).version
    version = parse_version(path.name) or 1
    version = max(version, newest_version(base_path) + 1)
    (base_path / str(version)).symlink_to(path, target_is_directory=True)
    return version


def _remove(version: Path) -> None:
    if version.is_symlink():
        version.unlink()
    else:
        shutil.rmtree(version, ignore_errors=True)


def _path(model: Any) -> Path:
    """The path that is meant.

    Raises:
        InvalidArgument: it is none.
    """
    try:
        return Path(os.path.abspath(model))
    except TypeError:
        raise InvalidArgument(
            f"A {type(model).__name__} is no model",
            hint=NO_MODEL_HINT,
        ) from None


def _is_one_version(path: Path) -> bool:
    """Whether a directory is one version, rather than a model directory or a file."""
    return path.is_dir() and bool(Selector().found(path)) and not versions_in(path)


def _is_code(path: Path) -> bool:
    found = Selector().found(path)
    return any(each.match is not None and bool(each.match.runs_code) for each in found)


def _name_of(path: Path) -> str:
    if path.is_file():
        return path.stem
    return path.parent.name if parse_version(path.name) is not None else path.name


def _reached(host: str) -> str:
    """Where a server that listens there is reached from here."""
    here = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{here}]" if ":" in here else here


_process: Final = os.getpid()


@atexit.register
def _stop_all() -> None:
    if os.getpid() != _process:  # a fork ends, whose parent's servers these are
        return
    for server in list(_running.values()):
        with suppress(Exception):
            server.stop()
