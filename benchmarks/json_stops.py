"""How many files the body of a REST Predict goes through, from the call to the feeds.

How it counts: Python's profiler reports each function of Salver that is entered while the codecs of
the call read a body and decode it for a version. A pair of caller and called function counts once,
so that a loop over rows counts like one row. A *stop* is a function entered in another file than
the one entered before it; a *return* is a stop in a file that was left before, so that there are as
many returns as stops less files. Each body is answered once beforehand, so that what is only done
the first time is not counted. Of an error, all of its making counts. Parts of the standard library
and of other packages are no stops.

Run: `PYTHONPATH=src python benchmarks/json_stops.py [--path]`; `--path` also prints the stops.
"""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import salver
from salver.errors import InvalidArgument
from salver.inference.call import LARGE_BYTES
from salver.inference.servable import Servable
from salver.scheduling.runner import MeasuredProgram
from salver.tfs.rest.calls import InferenceCalls
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.requests import ServableRequest
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import Signature, TensorSpec

_ROOT = str(Path(salver.__file__).parent)
_SERVABLE = ServableRequest("m")


class _Version:
    """A version that is asked of nothing but its signature."""

    id = ServableId("m", 1)
    definitions = batching = graph = None

    def __init__(self, signature: Signature) -> None:
        self.signatures = {"serving_default": signature}
        self.model = Servable(self, lambda _program, _names: self)  # type: ignore[arg-type]

    def acquire(self, _request: ServableRequest) -> "_Version":
        return self

    def release(self) -> None:
        pass

    def program(self, *_names: object) -> MeasuredProgram | None:
        return None

    def start(self, *_feeds: object, **_options: object) -> Any:
        raise AssertionError("only the way to the feeds is traced")


class _Path:
    """The functions entered, as pairs of file and name."""

    def __init__(self) -> None:
        self.entered: list[tuple[str, str]] = []
        self._pairs: set[tuple[object, object]] = set()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event != "call" or not _is_ours(frame):
            return
        caller = frame.f_back
        while caller is not None and not _is_ours(caller):
            caller = caller.f_back
        pair = (caller.f_code if caller else None, code)
        if pair not in self._pairs:
            self._pairs.add(pair)
            file = code.co_filename.removeprefix(_ROOT + "/")
            self.entered.append((file, getattr(code, "co_qualname", code.co_name)))

    def stops(self) -> list[tuple[str, str]]:
        """The first function of each stay in a file."""
        before = ["", *(file for file, _ in self.entered)]
        return [each for each, last in zip(self.entered, before, strict=False) if each[0] != last]


def _is_ours(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_filename.startswith(_ROOT) and not code.co_name.startswith("<")


async def _in_pool(call: Callable[[], Any], _size: int = 0) -> Any:
    return call()


def trace(body: bytes, signature: Signature) -> _Path:
    """The way of a body that is sent for the second time."""
    version = _Version(signature)
    calls = InferenceCalls(version, in_pool=_in_pool, timeout_s=None)  # type: ignore[arg-type]
    is_active = None if len(body) <= LARGE_BYTES else lambda: True

    def read() -> None:
        for codec in calls.predict_codecs:
            request = codec(body, _SERVABLE, is_active)
            if request is not None and request.decode(version, is_active):
                return

    path = _Path()
    for profiler in (None, path):
        sys.setprofile(profiler)
        with suppress(InvalidArgument):
            read()
    sys.setprofile(None)
    return path


def main() -> None:
    numbers = np.random.default_rng(0).random((224, 224, 3))
    image = json.dumps({"instances": [numbers.tolist()]}).encode()
    many = json.dumps({"instances": numbers.reshape(-1, 3).tolist()}).encode()
    floats, texts = _signature(x=DataType.FLOAT32), _signature(x=DataType.STRING)
    two = _signature(a=DataType.FLOAT32, b=DataType.INT32)
    for name, body, signature in (
        ("rows of numbers", b'{"instances": [[1.0, 2.0], [3.0, 4.0]]}', floats),
        ("named inputs", b'{"instances": [{"a": [1.0, 2.0], "b": 3}]}', two),
        ("named inputs, one string", b'{"inputs": {"a": [1.0], "b": 3}, "more": "x"}', two),
        ("3 MB of numbers", image, floats),
        ("strings", b'{"instances": ["a", {"b64": "aGk="}]}', texts),
        ("with NaN", b'{"instances": [1.0, NaN]}', floats),
        ("a repeated key", b'{"instances": [{"x": 1, "x": 2}]}', floats),
        ("-NaN and \\xff", b'{"instances": [-NaN], "more": "\xff"}', floats),
        ("a ragged list", b'{"instances": [[1.0, 2.0], [3.0]]}', floats),
        ("no JSON", b'{"instances": [1.0, 2.0}', floats),
        ("3 MB, ragged in the end", many.replace(b"]]}", b",1]]}"), floats),
        ("3 MB, NaN in the end", many.replace(b"]]}", b"],[1,2,NaN]]}"), floats),
        ("3 MB of named rows", many.replace(b"[[", b'[{"x":[').replace(b"], [", b']}, {"x": [')
         .replace(b"]]", b"]}]"), floats),
        ("20 MB of numbers", many.replace(b"]]}", b"], " + many[15:-2] * 7 + b"]}"), floats),
    ):  # fmt: skip
        path = trace(body, signature)
        stops = path.stops()
        files, names = {file for file, _ in stops}, {*path.entered}
        print(
            f"{name:26} {len(stops):3} stops in {len(files):2} files, "
            f"{len(stops) - len(files):2} returns, {len(names):3} names"
        )
        if "--path" in sys.argv:
            for file, function in stops:
                print(f"    {file:32} {function}")


def _signature(**inputs: DataType) -> Signature:
    return Signature({name: TensorSpec(of, None) for name, of in inputs.items()}, {})


if __name__ == "__main__":
    main()
