"""What `salver serve` prints when it starts to answer, with a command to try at once."""

import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import quote

from salver import __version__
from salver.config.options import Announcement, ServedModel
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.hints import without_nodes
from salver.vocabulary.signature import (
    CLASSIFY_METHOD_NAME,
    DEFAULT_SIGNATURE,
    REGRESS_METHOD_NAME,
    Signature,
    TensorSpec,
    is_internal,
)

__all__ = ["banner", "curl_line"]

_MOST_VALUES = 32  # as many as a person still likes to see in a command line
_MOST_COMMANDS = 3
_CURL_WITH_KEY = 'curl -H "Authorization: Bearer $KEY"'

_FLOATS = frozenset({DataType.FLOAT32, DataType.FLOAT64, DataType.FLOAT16, DataType.BFLOAT16})
_INTEGERS = frozenset(
    {
        DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64,
        DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64,
    }
)  # fmt: skip


def banner(announcement: Announcement) -> str:
    """Name every model with its versions or its error, and give a line to try for each."""
    models = announcement.models
    count = "1 model" if len(models) == 1 else f"{len(models)} models"
    where = [f"at {announcement.rest_url}"] if announcement.rest_url else []
    if announcement.grpc_address:
        where.append(f"over gRPC at {announcement.grpc_address}")
    lines = [f"Salver {__version__} serves {count} {' and '.join(where)}", ""]
    width = max((len(model.name) for model in models), default=0)
    lines += [f"  {model.name:<{width}}  {_state(model)}" for model in models]
    if announcement.playground_url:
        lines += ["", f"Open {announcement.playground_url} to try them in a browser."]
    there = [model for model in models if model.versions]
    if there and announcement.rest_url:
        lines += ["", "Try:"]
        url, needs_key = announcement.rest_url, announcement.needs_key
        tried = there[:_MOST_COMMANDS]
        lines += [f"  {curl_line(url, each, needs_key=needs_key)}" for each in tried]
    return "\n".join(lines)


def _state(model: ServedModel) -> str:
    if model.versions:
        word = "version" if len(model.versions) == 1 else "versions"
        return f"{word} {', '.join(map(str, model.versions))}  {model.base_path}"
    words, _ = without_nodes(model.error or "still loading")
    return f"not available: {words}"


def curl_line(rest_url: str, model: ServedModel, *, needs_key: bool = False) -> str:
    """A command that calls the model; one that asks for its signatures where no call is obvious.

    Args:
        rest_url: of the server.
        model: with its signatures.
        needs_key: it sends the key that the shell has in $KEY.
    """
    curl = _CURL_WITH_KEY if needs_key else "curl"
    url = f"{rest_url}/v1/models/{quote(model.name, safe='')}"
    for name in sorted(model.signatures, key=lambda name: (name != DEFAULT_SIGNATURE, name)):
        signature = model.signatures[name]
        if _is_callable(name, signature):
            return _command(curl, f"{url}:predict", name, signature)
    return f"{curl} {shlex.quote(f'{url}/metadata')}"


def _is_callable(name: str, signature: Signature) -> bool:
    """Whether plain values make a good example: initializers and serialized examples do not."""
    return (
        not is_internal(name)
        and signature.method_name not in (CLASSIFY_METHOD_NAME, REGRESS_METHOD_NAME)
        and all(_scalar(alias, spec) is not None for alias, spec in _required(signature).items())
    )


def _required(signature: Signature) -> Mapping[str, TensorSpec]:
    """The inputs that a request cannot leave out."""
    inputs = signature.inputs.items()
    return {alias: spec for alias, spec in inputs if alias not in signature.optional}


def _command(curl: str, url: str, name: str, signature: Signature) -> str:
    shapes = [spec.shape or () for spec in _required(signature).values()]
    if sum(math.prod(abs(size) for size in shape) for shape in shapes) <= _MOST_VALUES:
        body = _body(name, signature, _json_array)
        return f"{curl} -d {shlex.quote(body)} {shlex.quote(url)}"
    program = f"import json; print(json.dumps({_body(name, signature, _python_array)}))"
    return f"python3 -c {shlex.quote(program)} | {curl} -d @- {shlex.quote(url)}"


def _body(name: str, signature: Signature, write: Callable[[str, Sequence[int]], str]) -> str:
    """A request; by rows when each input may have a single row, by columns otherwise."""
    inputs = signature.inputs
    by_rows = bool(_required(signature)) and all(map(_takes_one_row, inputs.values()))
    values = {
        alias: write(
            _scalar(alias, spec) or "",
            [1 if size < 0 else size for size in (spec.shape or ())[1 if by_rows else 0 :]],
        )
        for alias, spec in _required(signature).items()
    }
    if len(values) == len(inputs) == 1:
        (value,) = values.values()
    else:
        value = f"{{{', '.join(f'{json.dumps(alias)}: {v}' for alias, v in values.items())}}}"
    chosen = "" if name == DEFAULT_SIGNATURE else f'"signature_name": {json.dumps(name)}, '
    return f'{{{chosen}"instances": [{value}]}}' if by_rows else f'{{{chosen}"inputs": {value}}}'


def _takes_one_row(spec: TensorSpec) -> bool:
    return spec.shape is None or (len(spec.shape) > 0 and spec.shape[0] in (-1, 1))


def _scalar(alias: str, spec: TensorSpec) -> str | None:
    """A value of an input as JSON; None where JSON has none."""
    if spec.dtype in _FLOATS:
        return "1.0"
    if spec.dtype in _INTEGERS:
        return "1"
    if spec.dtype is DataType.BOOL:
        return "true"
    if spec.dtype is DataType.STRING:
        return '{"b64": "dGV4dA=="}' if alias.endswith("_bytes") else '"text"'
    return None


def _json_array(scalar: str, sizes: Sequence[int]) -> str:
    for size in reversed(sizes):
        scalar = f"[{', '.join([scalar] * size)}]"
    return scalar


def _python_array(scalar: str, sizes: Sequence[int]) -> str:
    scalar = "True" if scalar == "true" else scalar
    for size in reversed(sizes):
        scalar = f"[{scalar}]" if size == 1 else f"[{scalar}] * {size}"
    return scalar
