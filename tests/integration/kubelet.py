"""A kubelet, as far as a server notices it: volumes, the command line, probes, the end of a pod.

A pod is one process of this machine: a path of its container is a directory in a place of its own,
and its ports are free ones of the loopback. What a container keeps a process from is not played.
"""

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tests.integration.manifests import Manifest, container_of
from tests.integration.serving import Server, eventually, start

__all__ = ["ConfigVolume", "Kubelet", "Pod"]

_LOCAL = "127.0.0.1"
_INJECTED = {  # for a Service that is called salver, where enableServiceLinks is not false
    "SALVER_PORT": "tcp://10.96.0.7:8501",
    "SALVER_SERVICE_HOST": "10.96.0.7",
    "SALVER_SERVICE_PORT": "8501",
}

_CONFINE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(libc, name)(*arguments):
        raise OSError(ctypes.get_errno(), name)
NEW_NAMES, RDONLY, REMOUNT, BIND, REC, PRIVATE = 0x20000, 0x1, 0x20, 0x1000, 0x4000, 0x40000
call("unshare", NEW_NAMES)
call("mount", b"none", b"/", None, REC | PRIVATE, None)
for path in {writable}:
    call("mount", path, path, None, BIND, None)
call("mount", b"none", b"/", None, REMOUNT | BIND | RDONLY, None)
KEEP_CAPABILITIES, VERSION_3, DAC_READ_SEARCH = 8, 0x20080522, 1 << 2
call("prctl", KEEP_CAPABILITIES, 1, 0, 0, 0)
os.setgroups([])
os.setgid({user})
os.setuid({user})
# The Python of this machine may lie where only root reads: it may still read all, and nothing more.
u32 = ctypes.c_uint32
kept = (u32 * 6)(DAC_READ_SEARCH, DAC_READ_SEARCH, 0, 0, 0, 0)
call("capset", (u32 * 2)(VERSION_3, 0), kept)
"""


class ConfigVolume:
    """A ConfigMap as it is mounted: links over `..data`, which one rename leads elsewhere."""

    def __init__(self, directory: Path, data: Mapping[str, str]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._generation = 0
        self.update(data)

    def update(self, data: Mapping[str, str]) -> None:
        """Have other content: what is mounted changes all at once."""
        before = self._directory / f"..2026_{self._generation}"
        self._generation += 1
        now = self._directory / f"..2026_{self._generation}"
        now.mkdir()
        for name, text in data.items():
            (now / name).write_text(text)
        (self._directory / "..data_tmp").symlink_to(now.name)
        (self._directory / "..data_tmp").rename(self._directory / "..data")
        for name in data:
            link = self._directory / name
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}")
        shutil.rmtree(before, ignore_errors=True)


class Pod:
    """One pod of a template.

    Attributes:
        spec: of the template.
        paths: directories of the container, by where they are here.
        server: what runs in it; from `start` on.
    """

    server: Server

    def __init__(
        self,
        spec: Manifest,
        *,
        configs: Mapping[str, Mapping[str, str]],
        claims: Mapping[str, Path],
        more: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        is_confined: bool = False,
    ) -> None:
        """Make its volumes.

        Args:
            spec: of a pod with one container.
            configs: the data of ConfigMaps, by name.
            claims: directories of persistent volumes, by the name of the claim or of its template.
            more: arguments behind those of the manifest.
            environment: variables beside those of the manifest.
            is_confined: run as the user that the manifest names, with a root file system that is
                read-only. Takes the right to make name spaces of mounts.
        """
        self.spec = spec
        self._is_confined = is_confined
        self._container = container_of(spec)
        self._place = Path(tempfile.mkdtemp(prefix="pod-"))  # short, for the paths of sockets
        self._more = more
        self._environment = dict(environment or {})
        self._configs: dict[str, ConfigVolume] = {}
        self.paths: dict[str, Path] = {}
        volumes = {each["name"]: each for each in spec.get("volumes", ())}
        for mount in self._container.get("volumeMounts", ()):
            assert "subPath" not in mount, "a subPath is never updated"
            volume = volumes.get(mount["name"], {"persistentVolumeClaim": {}})
            claim = volume.get("persistentVolumeClaim", {}).get("claimName", mount["name"])
            where = claims.get(claim, self._place / mount["name"])
            where.mkdir(exist_ok=True)
            self.paths[mount["mountPath"]] = where
        for mount in self._container.get("volumeMounts", ()):
            volume = volumes.get(mount["name"], {})
            if "configMap" in volume:
                name = volume["configMap"]["name"]
                data = {key: self.here(text) for key, text in configs[name].items()}
                self._configs[name] = ConfigVolume(self.paths[mount["mountPath"]], data)

    def here(self, text: str) -> str:
        """A text of the manifests, with the paths of this machine."""
        longest_first = "|".join(map(re.escape, sorted(self.paths, key=len, reverse=True)))
        pattern = rf"(?<![\w./-])(?:{longest_first})(?![\w.-])"
        return re.sub(pattern, lambda found: str(self.paths[found[0]]), text)

    def mount(self, path: str, directory: Path) -> None:
        """What others mount: KServe's storage initializer."""
        self.paths[path] = directory

    def update(self, config: str, data: Mapping[str, str]) -> None:
        """Have a ConfigMap with other content."""
        self._configs[config].update({key: self.here(text) for key, text in data.items()})

    @property
    def command(self) -> list[str]:
        """The command line of its container, with the paths of this machine."""
        words = [*self._container["command"], *self._container.get("args", ())]
        for name, value in self._variables().items():
            words = [word.replace(f"$({name})", value) for word in words]
        return [self.here(word) for word in words]

    def _variables(self) -> dict[str, str]:
        found = {}
        for each in self._container.get("env", ()):
            given = each.get("value")
            if given is None:
                assert each["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace"
                given = "models"
            found[each["name"]] = self.here(given)
        return found

    def start(self) -> None:
        program, *arguments = self.command
        if program == "salver":
            assert arguments.pop(0) == "serve"
        linked = _INJECTED if self.spec.get("enableServiceLinks", True) else {}
        self.server = start(
            *(*arguments, *self._more),
            command=program,
            is_quiet=True,
            prelude=self._confinement() if self._is_confined else "",
            environment={**linked, **self._variables(), **self._environment},
        )

    def _confinement(self) -> str:
        """Python that has the process give up what the manifest says; see mount(2)."""
        user = self.spec["securityContext"]["runAsUser"]
        mounts = self._container["volumeMounts"]
        writable = [self.paths[m["mountPath"]] for m in mounts if not m.get("readOnly")]
        assert self._container["securityContext"]["readOnlyRootFilesystem"]
        self._place.chmod(0o755)
        for path in writable:
            os.chown(path, user, user)
        return _CONFINE.format(writable=[bytes(path) for path in writable], user=user)

    def close(self) -> None:
        """End it whatever it does, and remove what it had."""
        if hasattr(self, "server"):
            self.server.dispose()
        shutil.rmtree(self._place, ignore_errors=True)

    # -- probes ----------------------------------------------------------------------------------

    def probe_of(self, kind: str) -> Any:
        """`startup`, `readiness` or `liveness`; None where there is none."""
        return self._container.get(f"{kind}Probe")

    def answers(self, probe: Mapping[str, Any]) -> bool:
        """Whether a probe succeeds now."""
        get = probe["httpGet"]
        connection = HTTPConnection(
            _LOCAL, self._port(get["port"]), timeout=probe.get("timeoutSeconds", 1)
        )
        try:
            connection.request("GET", get["path"])  # by the address, as kubelets do
            return 200 <= connection.getresponse().status < 400
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _port(self, name: str | int) -> int:
        ports = {each.get("name"): each["containerPort"] for each in self._container["ports"]}
        number = ports.get(name, name)
        flag = next(w for w in self.command if w.endswith(f"={number}")).partition("=")[0]
        return self.server.port if flag == "--rest_api_port" else self.server.grpc_port

    # -- end -------------------------------------------------------------------------------------

    def terminate(self) -> bool:
        """The preStop hook, SIGTERM, and SIGKILL when the grace period is over.

        Returns:
            Whether it ended by itself, and well.
        """
        until_s = time.monotonic() + self.spec.get("terminationGracePeriodSeconds", 30)
        hook = self._container.get("lifecycle", {}).get("preStop", {})
        if "exec" in hook:
            subprocess.run([self.here(w) for w in hook["exec"]["command"]], check=True)
        elif "sleep" in hook:
            threading.Event().wait(hook["sleep"]["seconds"])
        self.server.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            return self.server.wait(max(0.0, until_s - time.monotonic())) == os.EX_OK
        self.server.process.kill()
        return False


class Kubelet:
    """Watches one pod: starts it, probes it, and says when it is ready and when it is not.

    Attributes:
        has_failed: what a liveness probe has found, for which a kubelet would kill the pod.
    """

    def __init__(self, pod: Pod, on_ready: Callable[[Pod, bool], None], *, pace: float) -> None:
        """Start the pod.

        Args:
            pod: which.
            on_ready: called on a thread of this when readiness changes.
            pace: how much faster than a kubelet this probes; timeouts stay as they are.
        """
        self.pod = pod
        self.is_ready = False
        self.has_failed = ""
        self._on_ready = on_ready
        self._pace = pace
        self._ended = threading.Event()
        pod.start()
        self._thread = threading.Thread(target=self._watch, name="kubelet")
        self._thread.start()

    def wait_until_ready(self) -> None:
        """Wait for the first yes of the readiness probe."""

        def is_ready() -> bool:
            server = self.pod.server
            assert server.process.poll() is None, server.out.text() + server.err.text()
            return self.is_ready

        eventually("the pod is ready", is_ready)

    def delete(self) -> bool:
        """End the pod as a kubelet does; see `Pod.terminate`. It is no longer probed."""
        self.stop_probing()
        return self.pod.terminate()

    def stop_probing(self) -> None:
        """Have no opinion any more."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        startup = self.pod.probe_of("startup")
        if startup is not None:
            for _ in range(int(startup["failureThreshold"] / self._pace)):
                if self._ended.is_set() or self.pod.answers(startup):
                    break
                self._ended.wait(startup["periodSeconds"] * self._pace)
            else:
                self.has_failed = "startup"
        readiness, liveness = self.pod.probe_of("readiness"), self.pod.probe_of("liveness")
        failures = dead = 0
        while not self._ended.wait(readiness["periodSeconds"] * self._pace):
            failures = 0 if self.pod.answers(readiness) else failures + 1
            if liveness is not None:
                dead = 0 if self.pod.answers(liveness) else dead + 1
                if dead >= liveness["failureThreshold"]:
                    self.has_failed = "liveness"
            ready = failures == 0 or (self.is_ready and failures < readiness["failureThreshold"])
            if ready != self.is_ready and not self._ended.is_set():
                self.is_ready = ready
                self._on_ready(self.pod, ready)
