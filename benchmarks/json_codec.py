"""How fast requests in JSON become arrays, beside orjson with numpy and simdjson's own parse.

Run: `PYTHONPATH=src python benchmarks/json_codec.py`. Ratios below 1 mean that we are quicker.
"""

import contextlib
import time
from collections.abc import Callable

import numpy as np
import orjson
import simdjson

from salver.codecs.json.document import Document
from salver.codecs.json.response import encode_predict
from salver.errors import InvalidArgument
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import Signature, TensorSpec

_SIGNATURE = Signature({"x": TensorSpec(DataType.FLOAT32, None)}, {})
_ROUNDS = 5
_SECONDS_A_ROUND = 0.05


def best_of(function: Callable[[], object]) -> float:
    """Seconds of one call, the best of some rounds."""
    start = time.perf_counter()
    function()
    calls = max(1, int(_SECONDS_A_ROUND / (time.perf_counter() - start + 1e-9)))
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        best = min(best, (time.perf_counter() - start) / calls)
    return best


def body_of(shape: tuple[int, ...], *, digits: int) -> bytes:
    """A request with random numbers of so many digits."""
    values = np.random.default_rng(0).random(shape).round(digits).tolist()
    return orjson.dumps({"instances": values})


def compare(name: str, body: bytes) -> None:
    ours = best_of(lambda: Document(body).predict_inputs("", _SIGNATURE))
    peer = best_of(lambda: np.array(orjson.loads(body)["instances"], np.float32))
    parse = best_of(lambda: simdjson.Parser().parse(body))
    print(
        f"{name:28} {len(body):>9,} B {ours * 1e6:10.1f} µs"
        f"   / orjson+numpy {ours / peer:5.2f}   / simdjson's parse {ours / parse:5.2f}"
    )


def time_slow_ways() -> None:
    """What is answered with an error, and how soon."""
    rows = b'{"instances":[' + b"[1.0,2.0,3.0]," * 3_000_000
    for name, body in {
        "ragged in its last row": rows + b"[1.0,[2.0]]]}",
        "no JSON after its last row": rows + b"]}",
        "nothing but brackets": b"[" * 20_000_000,
        "a small body of brackets": b"[" * 65_536,
    }.items():
        start = time.perf_counter()
        with contextlib.suppress(InvalidArgument):
            Document(body).predict_inputs("", _SIGNATURE)
        print(f"{name:28} {len(body):>9,} B {(time.perf_counter() - start) * 1e3:10.1f} ms")


def main() -> None:
    compare("half_plus_two", b'{"instances": [1.0, 2.0, 5.0]}')
    compare("4 features", b'{"instances": [[5.1, 3.5, 1.4, 0.2]]}')
    compare("ten rows of 10", body_of((10, 10), digits=3))
    compare("28×28 image, flat", body_of((1, 784), digits=17))
    compare("28×28 image", body_of((1, 28, 28), digits=17))
    compare("224×224×3 image", body_of((1, 224, 224, 3), digits=17))
    compare("224×224×3 image, 3 digits", body_of((1, 224, 224, 3), digits=3))
    time_slow_ways()
    rows = np.random.default_rng(0).random((64, 1000), np.float32)
    encode = best_of(lambda: encode_predict([("y", rows)], is_row=True))
    dump = best_of(lambda: orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY))
    print(f"{'response, 64×1000 floats':28} {'':11} {encode * 1e6:10.1f} µs", end="")
    print(f"   / orjson.dumps {encode / dump:5.2f}")


if __name__ == "__main__":
    main()
