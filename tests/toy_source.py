"""A source for tests, as a plug-in would be: `toy://DIRECTORY` is copied from there in chunks.

A file `behaviour.json` beside the versions says how the store is: `{"pause_s": 0.1}` before each
chunk, `{"fails": true}` after the first chunk, `{"hangs": true}` there for ever.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from salver.errors import NotFound, Unavailable
from salver.instruments.files import footprint
from salver.sources.protocol import Found, MonitoredServable, Stage, Version, select, within

CHUNK_BYTES = 1000


class ToySource:
    """Finds versions, and fetches them."""

    poll_wait_s = 0.1
    can_resume = True

    @property
    def fetcher(self) -> "ToySource":
        return self

    def find(self, servables: Sequence[MonitoredServable]) -> Iterator[Found]:
        for servable in servables:
            base = _path(servable.base_path)
            try:
                names = os.listdir(base)
            except OSError as error:
                yield servable, NotFound(f"{servable.base_path}: {error.strerror}")
                continue
            yield (
                servable,
                {
                    number: Version(f"{servable.base_path}/{name}", footprint(str(base / name)))
                    for number, name in select(servable, names).items()
                },
            )

    def fetch(self, version: Version, into: Path, stage: Stage) -> None:
        origin, done_bytes = _path(version.location), 0
        for where, _, names in os.walk(origin):
            for name in sorted(names):
                there = Path(where, name)
                here = within(into, str(there.relative_to(origin)))
                here.parent.mkdir(parents=True, exist_ok=True)
                done_bytes = _copy(there, here, done_bytes, stage, origin.parent)


def make(_scheme: str, _settings: Any) -> ToySource:
    """Make one as those that come with Salver are made."""
    return ToySource()


def _copy(there: Path, here: Path, done_bytes: int, stage: Stage, base: Path) -> int:
    """Go on where an earlier fetch has failed."""
    with there.open("rb") as source, here.open("ab", buffering=0) as target:
        done_bytes += source.seek(target.tell())
        while chunk := source.read(CHUNK_BYTES):
            stage.wait(_behaviour(base).get("pause_s", 0))
            target.write(chunk)
            done_bytes += len(chunk)
            stage.progress(done_bytes)
            if _behaviour(base).get("fails"):
                raise Unavailable("The toy store is away")
            while _behaviour(base).get("hangs"):
                time.sleep(0.02)  # deaf to its stage
    return done_bytes


def _behaviour(base: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((base / "behaviour.json").read_text()))
    except (OSError, ValueError):
        return {}


def _path(location: str) -> Path:
    return Path(location.removeprefix("toy://"))


def install(directory: Path, *, attribute: str = "ToySource") -> None:
    """Have a directory of the import path hold this as a distribution with an entry point."""
    directory.mkdir(exist_ok=True)
    (directory / "toy_source.py").write_text(Path(__file__).read_text())
    information = directory / "toy_source-1.0.dist-info"
    information.mkdir(exist_ok=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-source\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        f"[salver.sources]\ntoy = toy_source:{attribute}\n"
    )
