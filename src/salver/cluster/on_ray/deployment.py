"""A cluster as whoever has started it sees it: the connection to Ray, and the controller there."""

import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from salver.cluster.journal_file import default_journal
from salver.cluster.on_ray import head
from salver.cluster.on_ray.library import LOOPBACK, import_ray, read_environment_again
from salver.cluster.on_ray.names import CONTROLLER, HEAD, namespace_of
from salver.cluster.spec import ClusterSpec
from salver.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    ServingError,
    Unavailable,
)
from salver.peers.hops import parse_tokens

__all__ = ["Deployment", "connect"]

_CALL_S: Final = 60.0
_STOP_S: Final = 180.0
_LOOK_S: Final = 0.3
_AUTO: Final = "auto"
_LOCAL: Final = "local"
_CURRENT: Final = "ray_current_cluster"
"""In Ray's directory for temporary files: the cluster that was started last on this machine."""
_LONGEST: Final = 512  # of an address


def connect(spec: ClusterSpec, *, may_start: bool, tell: Callable[[str], None]) -> "Deployment":
    """Connect to Ray, where the cluster is or shall be.

    Args:
        spec: of the cluster.
        may_start: whether Ray is started on this machine where there is none.
        tell: is told what is done.

    Raises:
        FailedPrecondition: Ray is not installed, does not start, or is another cluster's already.
        Unavailable: there is none at the address.
    """
    directory = Path(_journal(spec)).parent
    address = _address(spec, directory)
    if address is None:
        if not may_start:
            raise Unavailable(
                f"The cluster {spec.name} does not run: there is no Ray",
                hint="salver cluster up starts it.",
            )
        import_ray(LOOPBACK + ":0")
        tell("Starting Ray on this machine, for this machine alone ...")
        address = head.start_head(directory, os.environ, time.sleep).address
    elif not head.reaches(address):
        raise Unavailable(f"There is no Ray at {address}")
    ray = import_ray(address)
    if not ray.is_initialized():
        _connect(ray, address)
    return Deployment(ray, spec)


def _connect(ray: Any, address: str) -> None:
    import logging

    _be_silent(ray)
    read_environment_again(ray)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            configure_logging=True,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        # Some of its errors hold a traceback, whose last line says what was wrong.
        said = str(error.__cause__ or error).strip().rpartition("\n")[2]
        raise Unavailable(f"Ray at {address} does not take us: {said}") from error


def _be_silent(ray: Any) -> None:
    """Keep Ray's remarks on its nodes from standard output, which is that of our commands."""
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *_more, **_named: None


def _journal(spec: ClusterSpec) -> str:
    return spec.journal or default_journal(spec.name, os.environ)


def _address(spec: ClusterSpec, directory: Path) -> str | None:
    """Where Ray is; None where none is known."""
    if spec.ray_address not in (_AUTO, _LOCAL):
        return spec.ray_address
    started = head.find_head(directory)
    if started is not None:
        return started.address
    if spec.ray_address == _LOCAL:
        return None
    for found in (os.environ.get("RAY_ADDRESS", ""), _current()):
        if found and head.reaches(found):
            return found
    return None


def _current() -> str:
    """The address that this user, or root, has left there: anybody may write into that place."""
    root = os.environ.get("RAY_TMPDIR") or "/tmp"  # noqa: S108 - where Ray has it
    try:
        opened = os.open(Path(root) / "ray" / _CURRENT, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(opened) as file:
            about = os.fstat(opened)
            if not stat.S_ISREG(about.st_mode) or about.st_uid not in (0, os.getuid()):
                return ""
            return file.read(_LONGEST).strip()
    except (OSError, ValueError):
        return ""


class Deployment:
    """One cluster. Its methods raise `ServingError`."""

    def __init__(self, ray: Any, spec: ClusterSpec) -> None:
        """See `connect`."""
        self._ray = ray
        self._spec = spec
        self._namespace = namespace_of(spec.name)
        self._handle: Any = None

    @property
    def address(self) -> str:
        """Of Ray."""
        text: str = self._ray.get_runtime_context().gcs_address
        return text

    @property
    def directory(self) -> Path:
        """Of the cluster, at the machine of the controller."""
        return Path(_journal(self._spec)).parent

    def up(self, tell: Callable[[str], None]) -> bool:
        """Have the cluster be as its specification says; whether that is something new."""
        import salver

        controller, token = self._find(), ""
        if controller is None:
            token = _token(self._spec)
        else:
            about = self._call(controller.about)
            if about["version"] != salver.__version__:
                token = _token(self._spec)  # raises before anything has ended
                tell(f"Replacing the controller of Salver {about['version']} ...")
                self._call(controller.release)
                self._end(controller)
                controller = None
        if controller is None:
            controller = self._make(token)
        return bool(self._call(controller.apply, self._spec))

    def _make(self, token: str) -> Any:
        from salver.cluster.on_ray.controller_actor import ControllerActor

        self._handle = (
            self._ray.remote(ControllerActor)
            .options(
                name=CONTROLLER,
                namespace=self._namespace,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
                max_task_retries=2,
                max_concurrency=32,
                num_cpus=0,
                resources={HEAD: 0.001},
            )
            .remote(self._spec.name, _journal(self._spec), token)
        )
        return self._handle

    def _find(self) -> Any:
        try:
            self._handle = self._ray.get_actor(CONTROLLER, namespace=self._namespace)
        except ValueError:
            return None
        return self._handle

    def _controller(self) -> Any:
        controller = self._handle or self._find()
        if controller is None:
            raise NotFound(
                f"The cluster {self._spec.name} does not run", hint="salver cluster up starts it."
            )
        return controller

    def _call(self, method: Any, *arguments: Any, within_s: float = _CALL_S, **named: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(method.remote(*arguments, **named), timeout=within_s)
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, ServingError):
                raise cause from None
            raise FailedPrecondition(f"The controller failed: {cause}") from error
        except errors.GetTimeoutError:
            raise DeadlineExceeded("The controller does not answer in time") from None
        except errors.RayActorError as error:
            self._handle = None
            raise Unavailable(f"The controller is away: {str(error).splitlines()[0]}") from None

    def status(self) -> Mapping[str, Any]:
        """How the cluster is, as a document."""
        found: Mapping[str, Any] = self._call(self._controller().status)
        return found

    def why(self, model: str) -> str:
        """Why a model is where it is."""
        return str(self._call(self._controller().why, model))

    def drain(self, node: str, *, is_draining: bool = True) -> None:
        """Have others take over what a node has, so that it can leave; or have it come back."""
        self._call(self._controller().drain, node, is_draining=is_draining)

    def logs(self, node: str, lines: int = 100) -> str:
        """The last lines that a node's server has written."""
        return str(self._call(self._controller().logs, node, lines))

    def metrics_pages(self) -> Mapping[str, str]:
        """The metrics page of each node's server; empty where it did not come."""
        found: Mapping[str, str] = self._call(self._controller().metrics_pages)
        return {node: page for node, page in found.items() if page}

    def controller_pid(self) -> int:
        """The process of the controller."""
        return int(self._call(self._controller().about)["pid"])

    def node_pid(self, node: str) -> int:
        """The process that looks after a node; 0 where it does not answer."""
        return int(self._call(self._controller().node_pids).get(node, 0))

    def down(self) -> list[str]:
        """Stop all servers and actors, and Ray if `up` has started it.

        Returns:
            What went wrong.
        """
        problems: list[str] = []
        controller = self._find()
        if controller is not None:
            problems = list(self._call(controller.stop, within_s=_STOP_S))
            self._end(controller)
        self.disconnect()
        head.stop_head(self.directory)
        return problems

    def _end(self, controller: Any) -> None:
        """End an actor, and wait until its name is free."""
        self._ray.kill(controller, no_restart=True)
        self._handle = None
        until_s = time.monotonic() + _CALL_S
        while self._find() is not None and time.monotonic() < until_s:
            time.sleep(_LOOK_S)
        self._handle = None

    def wait_settled(self, within_s: float, tell: Callable[[Mapping[str, Any]], None]) -> bool:
        """Wait until the models are where they should be; whether they are.

        Args:
            within_s: at most so long.
            tell: is given each status meanwhile.
        """
        until_s = time.monotonic() + within_s
        while True:
            status = self.status()
            tell(status)
            if status["nodes"] and status["is_settled"] and not status["restarting"]:
                return True
            if time.monotonic() > until_s:
                return False
            time.sleep(_LOOK_S)

    def disconnect(self) -> None:
        """Leave the cluster as it is."""
        self._ray.shutdown()


def _token(spec: ClusterSpec) -> str:
    """The lines of the file of secrets, of which at least one is a secret."""
    if not spec.peer_token_file:
        return ""
    try:
        content = Path(spec.peer_token_file).read_bytes()
    except OSError as error:
        raise FailedPrecondition(f"{spec.peer_token_file} cannot be read: {error}") from None
    parse_tokens(content, spec.peer_token_file)
    return content.decode(errors="replace").strip()
