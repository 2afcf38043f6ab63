import json
import shlex
import subprocess
import sys
from typing import Any

import pytest

from salver import __version__
from salver.cli.banner import banner, curl_line
from salver.config.options import Announcement, ServedModel
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.signature import (
    CLASSIFY_METHOD_NAME,
    DEFAULT_SIGNATURE,
    Signature,
    TensorSpec,
)

_URL = "http://127.0.0.1:8501"
_Shape = tuple[int, ...] | None


def _spec(dtype: DataType, shape: _Shape) -> TensorSpec:
    return TensorSpec(dtype, shape)


def _signature(**inputs: tuple[DataType, _Shape]) -> Signature:
    return Signature({alias: _spec(*given) for alias, given in inputs.items()}, {})


def _model(signature: Signature, name: str = DEFAULT_SIGNATURE) -> ServedModel:
    return ServedModel(name="m", base_path="/m", versions=(1,), signatures={name: signature})


def _body(command: str) -> Any:
    """What a curl line would send; runs the Python in it where there is some."""
    words = shlex.split(command)
    if words[0] == "curl":
        assert words == ["curl", "-d", words[2], f"{_URL}/v1/models/m:predict"]
        return json.loads(words[2])
    assert words[:2] == ["python3", "-c"]
    assert words[3:] == ["|", "curl", "-d", "@-", f"{_URL}/v1/models/m:predict"]
    made = subprocess.run([sys.executable, "-c", words[2]], capture_output=True, check=True)
    return json.loads(made.stdout)


@pytest.mark.parametrize(
    ("inputs", "body"),
    [
        ({"x": (DataType.FLOAT32, None)}, {"instances": [1.0]}),
        ({"x": (DataType.FLOAT32, (-1,))}, {"instances": [1.0]}),
        ({"x": (DataType.FLOAT16, (-1, 3))}, {"instances": [[1.0, 1.0, 1.0]]}),
        ({"x": (DataType.FLOAT64, (1, -1, 2))}, {"instances": [[[1.0, 1.0]]]}),
        ({"x": (DataType.INT32, ())}, {"inputs": 1}),
        ({"x": (DataType.INT64, (2,))}, {"inputs": [1, 1]}),
        ({"x": (DataType.BOOL, (-1,))}, {"instances": [True]}),
        ({"x": (DataType.STRING, (-1,))}, {"instances": ["text"]}),
        ({"x_bytes": (DataType.STRING, (-1,))}, {"instances": [{"b64": "dGV4dA=="}]}),
        (
            {"a": (DataType.FLOAT32, (-1,)), "b": (DataType.INT32, (-1, 2))},
            {"instances": [{"a": 1.0, "b": [1, 1]}]},
        ),
        (
            {"a": (DataType.FLOAT32, (-1,)), "b": (DataType.INT32, ())},
            {"inputs": {"a": [1.0], "b": 1}},
        ),
        ({}, {"inputs": {}}),
        ({"x": (DataType.FLOAT32, (-1, 28, 28))}, {"instances": [[[1.0] * 28] * 28]}),
        ({"x": (DataType.BOOL, (-1, 1, 40))}, {"instances": [[[True] * 40]]}),
    ],
)
def test_the_command_sends_what_the_signature_takes(
    inputs: dict[str, tuple[DataType, _Shape]], body: Any
) -> None:
    assert _body(curl_line(_URL, _model(_signature(**inputs)))) == body


def test_the_command_leaves_out_what_may_be_left_out() -> None:
    vector = _spec(DataType.FLOAT32, (-1,))
    inputs = {"k": vector, "token": _spec(DataType.RESOURCE, (-1,)), "x": vector}
    signature = Signature(inputs, {}, optional=frozenset(("k", "token")))
    assert _body(curl_line(_URL, _model(signature))) == {"instances": [{"x": 1.0}]}


def test_another_signature_is_named_when_there_is_no_default() -> None:
    command = curl_line(_URL, _model(_signature(x=(DataType.FLOAT32, (-1,))), "score"))
    assert _body(command) == {"signature_name": "score", "instances": [1.0]}


def test_the_default_signature_comes_first() -> None:
    signatures = {
        "a": _signature(x=(DataType.INT32, (-1,))),
        DEFAULT_SIGNATURE: _signature(x=(DataType.FLOAT32, (-1,))),
    }
    model = ServedModel(name="m", base_path="/m", versions=(1,), signatures=signatures)
    assert _body(curl_line(_URL, model)) == {"instances": [1.0]}


@pytest.mark.parametrize(
    ("name", "signature"),
    [
        ("__saved_model_init_op", _signature()),
        ("c", Signature({"inputs": _spec(DataType.STRING, (-1,))}, {}, CLASSIFY_METHOD_NAME)),
        ("r", _signature(x=(DataType.RESOURCE, ()))),
        ("z", _signature(x=(DataType.COMPLEX64, (-1,)))),
    ],
)
def test_where_no_call_is_obvious_the_signatures_are_asked_for(
    name: str, signature: Signature
) -> None:
    assert curl_line(_URL, _model(signature, name)) == f"curl {_URL}/v1/models/m/metadata"


def test_a_name_is_escaped_for_url_and_shell() -> None:
    model = ServedModel(name="a b's", base_path="/m", versions=(1,))
    assert shlex.split(curl_line(_URL, model)) == ["curl", f"{_URL}/v1/models/a%20b%27s/metadata"]


def test_where_keys_are_asked_for_the_commands_send_one() -> None:
    model = ServedModel(name="m", base_path="/m", versions=(1,))
    said = banner(Announcement(rest_url=_URL, needs_key=True, models=(model,)))
    assert f'curl -H "Authorization: Bearer $KEY" {_URL}/v1/models/m/metadata' in said


def test_every_model_is_named_with_its_versions_or_its_error() -> None:
    models = (
        ServedModel(
            name="digits",
            base_path="/models/digits",
            versions=(2, 1),
            signatures={DEFAULT_SIGNATURE: _signature(x=(DataType.FLOAT32, (-1,)))},
        ),
        ServedModel(name="one", base_path="/models/one", versions=(7,)),
        ServedModel(name="broken", base_path="/b", error="NOT_FOUND: no variables"),
        ServedModel(name="slow", base_path="/s"),
    )
    assert banner(Announcement(rest_url=_URL, models=models)).splitlines() == [
        f"Salver {__version__} serves 4 models at {_URL}",
        "",
        "  digits  versions 2, 1  /models/digits",
        "  one     version 7  /models/one",
        "  broken  not available: NOT_FOUND: no variables",
        "  slow    not available: still loading",
        "",
        "Try:",
        f"  curl -d '{{\"instances\": [1.0]}}' {_URL}/v1/models/digits:predict",
        f"  curl {_URL}/v1/models/one/metadata",
    ]


def test_without_a_model_there_is_nothing_to_try() -> None:
    assert banner(Announcement(rest_url=_URL, models=())) == (
        f"Salver {__version__} serves 0 models at {_URL}\n"
    )


def test_where_grpc_is_served_is_said() -> None:
    address = "127.0.0.1:8500"
    both = banner(Announcement(rest_url=_URL, grpc_address=address, models=()))
    assert both == f"Salver {__version__} serves 0 models at {_URL} and over gRPC at {address}\n"


def test_without_rest_there_is_nothing_to_try_by_curl() -> None:
    model = ServedModel(name="m", base_path="/m", versions=(1,))
    text = banner(Announcement(rest_url="", grpc_address="unix:/run/s", models=(model,)))
    assert text.splitlines() == [
        f"Salver {__version__} serves 1 model over gRPC at unix:/run/s",
        "",
        "  m  version 1  /m",
    ]


def test_one_model_is_not_several() -> None:
    model = ServedModel(name="m", base_path="/m")
    assert "serves 1 model at" in banner(Announcement(rest_url=_URL, models=(model,)))


def test_the_page_to_try_models_on_is_named_where_there_is_one() -> None:
    text = banner(Announcement(rest_url=_URL, playground_url=f"{_URL}/", models=()))
    assert f"\n\nOpen {_URL}/ to try them in a browser." in text
    assert "Open" not in banner(Announcement(rest_url=_URL, models=()))


def test_the_names_of_nodes_are_left_out_of_an_error() -> None:
    error = "Matrix size-incompatible\n\t [[{{node dense/MatMul}}]]"
    model = ServedModel(name="m", base_path="/m", error=error)
    said = banner(Announcement(rest_url=_URL, models=(model,)))
    assert "  m  not available: Matrix size-incompatible" in said.splitlines()


def test_of_many_models_three_are_tried() -> None:
    signatures = {DEFAULT_SIGNATURE: _signature(x=(DataType.FLOAT32, (-1,)))}
    models = tuple(
        ServedModel(name=f"m{n}", base_path="/m", versions=(1,), signatures=signatures)
        for n in range(9)
    )
    said = banner(Announcement(rest_url=_URL, models=models))
    assert said.count("  curl ") == 3
    assert said.count("version 1") == 9
