"""What happens around the server of `soak.py`: versions come and go, the configuration changes."""

import asyncio
import errno
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf import text_format
from soak_clients import Rest, Rpc, Tally, expect, message, predict_request
from soak_traffic import pause

from salver._pb import message_class

LANDING_S = 30.0  # what takes longer to come or go has not worked
STEP_S = 4 * LANDING_S  # a step waits for several things
WARMUP = "assets.extra/tf_serving_warmup_requests"

# The labelled model's versions and labels, one stage after the other, and again. Each stage's
# labels name versions that the stage before had, but for a canary that comes with its version.
STAGES = (
    ((1, 2), {"stable": 1, "canary": 2}),
    ((1, 2, 3), {"stable": 1, "canary": 3}),
    ((2, 3), {"stable": 3, "canary": 3}),
    ((1, 2, 3), {"stable": 2, "canary": 1}),
)
GARBAGE = "model_config_list { config { name: 'half of a"


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copy2(source, target)


@dataclass(frozen=True)
class Shelf:
    """The directories under which the server finds its models."""

    nets: Path
    root: Path
    features: Collection[str]

    def base(self, name: str) -> Path:
        return self.root / "models" / name

    def publish(self, name: str, version: int, source: Path, *, spoil: str = "") -> Path:
        """Let a version appear, whole, or spoilt in one of two ways."""
        made = self.root / "unfinished" / f"{name}-{version}"
        shutil.copytree(source, made, copy_function=link_or_copy)
        if "warmup" in self.features and (version % 2 or spoil == "warmup"):
            self._add_warmup(made, is_broken=spoil == "warmup")
        if spoil == "model":
            (made / "saved_model.pb").unlink()
            (made / "saved_model.pb").write_bytes(bytes(range(256)) * 8)
        place = self.base(name) / str(version)
        place.parent.mkdir(parents=True, exist_ok=True)
        made.rename(place)
        return place

    def _add_warmup(self, version: Path, *, is_broken: bool) -> None:
        from salver.codecs.protobuf.prediction_log import LogKind, encode_prediction_log
        from salver.codecs.protobuf.tfrecord import write_record

        request = predict_request("any", [1.0, 2.0]).SerializeToString()
        record = write_record(encode_prediction_log(LogKind.PREDICT, request, None, b""))
        file = version / WARMUP
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(record * 5 + (b"rubbish" * 9 if is_broken else b""))

    def fill(self, steady: Path) -> None:
        """What is there when the server starts."""
        affine = self.nets / "affine"
        self.publish("steady", 124, steady)
        for version in (1, 2, 3):
            self.publish("labelled", version, affine / str(version))
        self.publish("moved_a", 1, affine / "1")
        self.publish("moved_b", 2, affine / "2")
        for name in ("swapped", "faulty", "logged", "coming", "visitor"):
            self.publish(name, 1, affine / "1")
        self.publish("big", 1, self.nets / "big" / "1")
        self.publish("rooted", 1, self.nets / "rooted" / "0")
        self.publish("busy", 1, self.nets / "busy" / "0")
        self.publish("broken", 1, affine / "1", spoil="model")

    def config(self, step: int, *, visitor: bool = False) -> str:
        """The configuration of one step, as text."""
        versions, labels = STAGES[step % len(STAGES)]
        entries = [self._entry(name) for name in ("steady", "big", "busy", "faulty")]
        policy = "".join(f" versions: {version}" for version in versions)
        more = f"model_version_policy {{ specific {{{policy} }} }}"
        for label, version in labels.items():
            more += f' version_labels {{ key: "{label}" value: {version} }}'
        entries.append(self._entry("labelled", more))
        latest = f"model_version_policy {{ latest {{ num_versions: {1 + step // 2 % 2} }} }}"
        entries.append(self._entry("swapped", latest))
        entries.append(self._entry("moved", base="moved_a" if step // 3 % 2 else "moved_b"))
        entries.append(self._entry("logged", self._logging("logged", "file", 1.0)))
        entries.append(self._entry("rooted", self._logging("rooted", "jsonl", 0.5)))
        if step % 2:
            entries.append(self._entry("coming"))
        if step % 5 == 3:
            entries.append(self._entry("broken"))
        if visitor:
            entries.append(self._entry("visitor"))
        return "model_config_list {\n" + "".join(entries) + "}\n"

    def _entry(self, name: str, more: str = "", base: str = "") -> str:
        path = self.base(base or name)
        named = f'name: "{name}" base_path: "{path}" model_platform: "tensorflow"'
        return f"  config {{ {named} {more} }}\n"

    def _logging(self, name: str, kind: str, rate: float) -> str:
        if "logging" not in self.features:
            return ""
        place = f'type: "{kind}" filename_prefix: "{self.root / "logs" / name}"'
        sampling = f"sampling_config {{ sampling_rate: {rate} }}"
        return f"logging_config {{ log_collector_config {{ {place} }} {sampling} }}"


@dataclass
class World:
    """Everything that changes while requests are answered.

    Attributes:
        spans: when something was being loaded: what, begin and end (`time.monotonic`).
        now: what is being loaded.
    """

    shelf: Shelf
    config_file: Path
    rest: Rest
    rpc: Rpc
    tally: Tally
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    now: list[str] = field(default_factory=list)

    @contextmanager
    def span(self, what: str) -> Iterator[None]:
        begun_s = time.monotonic()
        self.now.append(what)
        try:
            yield
        finally:
            self.now.remove(what)
            self.spans.append((what, begun_s, time.monotonic()))

    async def states(self, name: str) -> dict[int, str]:
        answer = await self.rest.ask("GET", f"/v1/models/{name}")
        if answer.status != 200:
            return {}
        return {
            int(each["version"]): each["state"]
            for each in json.loads(answer.body)["model_version_status"]
        }

    async def until(self, name: str, what: str, check: Callable[[dict[int, str]], bool]) -> None:
        """Wait until the states of a model are as wanted."""
        until_s = time.monotonic() + LANDING_S
        while not check(states := await self.states(name)):
            expect(time.monotonic() < until_s, f"{name} not {what}: {states}")
            await asyncio.sleep(0.05)

    async def swap(self, name: str, variants: int, stop: asyncio.Event, every_s: float) -> None:
        """A new version comes; when it is available, the old one goes."""
        source = self.shelf.nets / {2: "big", 4: "affine"}[variants]
        for version in itertools.count(2):
            if await pause(stop, every_s):
                return
            with self.span(name):
                swap = self._swap(name, version, source, variants)
                await self.tally.bad(f"swap of {name}", swap, within_s=STEP_S)
            self.tally.counts[f"swaps of {name}"] += 1

    async def _swap(self, name: str, version: int, source: Path, variants: int) -> None:
        self.shelf.publish(name, version, source / str(version % variants))
        await self.until(name, f"at {version}", lambda states: states.get(version) == "AVAILABLE")
        shutil.rmtree(self.shelf.base(name) / str(version - 1))
        gone = (None, "END")
        await self.until(
            name, f"rid of {version - 1}", lambda states: states.get(version - 1) in gone
        )

    async def spoil(self, stop: asyncio.Event, every_s: float) -> None:
        """Versions that cannot be loaded appear, and go; the one before must stay."""
        ways = ["model", "warmup"] if "warmup" in self.shelf.features else ["model"]
        for version, way in zip(itertools.count(2), itertools.cycle(ways), strict=False):
            if await pause(stop, every_s):
                return
            with self.span("faulty"):
                await self.tally.bad(f"spoilt {way}", self._spoil(version, way), within_s=STEP_S)
            self.tally.counts[f"versions that failed to load ({way})"] += 1

    async def _spoil(self, version: int, way: str) -> None:
        source = self.shelf.nets / "affine" / "0"
        place = self.shelf.publish("faulty", version, source, spoil=way)
        try:
            await self.until("faulty", "failed", lambda states: states.get(version) == "END")
            states = await self.states("faulty")
            expect(states.get(1) == "AVAILABLE", f"a failed version cost the good one: {states}")
        finally:
            shutil.rmtree(place)

    async def reload(self, stop: asyncio.Event, every_s: float) -> None:
        """The configuration changes, by its file and by RPC, and what it says comes true."""
        for step in itertools.count(1):
            if await pause(stop, every_s):
                return
            with self.span("reload"):
                await self.tally.bad("reload", self._reload(step), within_s=STEP_S)
            self.tally.counts["reloads"] += 1

    async def _reload(self, step: int) -> None:
        by_file = "polling" in self.shelf.features
        if by_file and step % 4 == 2:
            self.write(GARBAGE)
            self.tally.counts["configuration files that were rubbish"] += 1
            await asyncio.sleep(1.5)
        if by_file and step % 3:
            self.write(self.shelf.config(step))
        else:
            visitor = step % 2 == 0
            if by_file and not visitor:
                self.write(self.shelf.config(step))
            await self._call(self.shelf.config(step, visitor=visitor), step)
            if by_file and visitor:
                self.write(self.shelf.config(step))
        await self._landed(step)

    def write(self, text: str) -> None:
        """Replace the configuration file in one go, as a careful operator does."""
        unfinished = self.config_file.with_suffix(".new")
        unfinished.write_text(text)
        unfinished.rename(self.config_file)

    async def _call(self, text: str, step: int) -> None:
        config = text_format.Parse(text, message_class("tensorflow.serving.ModelServerConfig")())
        request = message("ReloadConfigRequest", config=config).SerializeToString()
        self.tally.counts["reloads by RPC"] += 1
        try:
            await self.rpc.call(
                "ModelService/HandleReloadConfigRequest", request, timeout=LANDING_S
            )
        except grpc.RpcError as error:
            self.tally.counts["reloads that told of the model that is broken"] += 1
            is_due = "{name: broken version: 1}" in str(error.details()) and "broken" in text
            expect(is_due, f"reload {step}: {error.code()} {error.details()}")

    async def _landed(self, step: int) -> None:
        """Wait until labels, versions and models are as the step's configuration says."""
        versions, labels = STAGES[step % len(STAGES)]
        await self.until(
            "labelled",
            f"at {versions} (reload {step})",
            lambda states: (
                {v for v, state in states.items() if state == "AVAILABLE"} == set(versions)
            ),
        )
        await self._labels_landed(labels, step)
        is_there = bool(step % 2)
        await self.until(
            "coming",
            f"as reload {step} says",
            lambda states: ("AVAILABLE" in states.values()) == is_there,
        )

    async def _labels_landed(self, labels: dict[str, int], step: int) -> None:
        until_s = time.monotonic() + LANDING_S
        for label, version in labels.items():
            while True:
                path = f"/v1/models/labelled/labels/{label}:predict"
                answer = await self.rest.ask("POST", path, b'{"instances": [1.0]}')
                got = answer.fields.get("salver-model-version")
                if got == str(version):
                    break
                expect(time.monotonic() < until_s, f"label {label} of reload {step}: {got}")
                await asyncio.sleep(0.05)
