"""Models written for Triton's Python backend, as they are."""

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from salver.backends.protocol import LoadStage
from salver.backends.python.backend import PythonBackend
from salver.backends.python.model import PythonModel
from salver.backends.python.options import PythonOptions
from salver.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    ServingError,
    Unimplemented,
)
from salver.vocabulary.dtypes import DataType
from salver.vocabulary.servable import ServableId
from salver.vocabulary.signature import TensorSpec

Load = Callable[..., PythonModel]

ADD_SUB = """
    import json
    import numpy as np
    import triton_python_backend_utils as pb_utils


    class TritonPythonModel:
        def initialize(self, args):
            self.model_config = model_config = json.loads(args["model_config"])
            assert args["model_name"] == "add_sub" and args["model_version"] == "4", args
            output0 = pb_utils.get_output_config_by_name(model_config, "OUTPUT0")
            self.output0_dtype = pb_utils.triton_string_to_numpy(output0["data_type"])

        def execute(self, requests):
            responses = []
            for request in requests:
                in_0 = pb_utils.get_input_tensor_by_name(request, "INPUT0")
                in_1 = pb_utils.get_input_tensor_by_name(request, "INPUT1")
                out_0 = in_0.as_numpy() + in_1.as_numpy()
                out_1 = in_0.as_numpy() - in_1.as_numpy()
                tensors = [
                    pb_utils.Tensor("OUTPUT0", out_0.astype(self.output0_dtype)),
                    pb_utils.Tensor("OUTPUT1", out_1),
                ]
                responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
            return responses

        def finalize(self):
            print("Cleaning up...")
"""
ADD_SUB_CONFIG = """
    name: "add_sub"
    backend: "python"
    input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 4 ] } ]
    input [ { name: "INPUT1" data_type: TYPE_FP32 dims: [ 4 ] } ]
    output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 4 ] } ]
    output [ { name: "OUTPUT1" data_type: TYPE_FP32 dims: [ 4 ] } ]
    instance_group [{ kind: KIND_CPU }]
    optimization { cuda { graphs: true } }
    model_warmup [ { name: "w" inputs: { key: "INPUT0" value: { zero_data: true } } } ]
    parameters: { key: "EXECUTION_ENV_PATH" value: { string_value: "env.tar.gz" } }
"""
ONE = """
    input [ { name: "X" data_type: TYPE_INT32 dims: [ -1 ] } ]
    output [ { name: "Y" data_type: TYPE_INT32 dims: [ -1 ] } ]
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "add_sub" / "4"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def load(directory: Path) -> Iterator[Load]:
    made: list[PythonModel] = []

    def load(source: str, config: str | None = ONE) -> PythonModel:
        (directory / "model.py").write_text(dedent(source))
        if config is not None:
            (directory.parent / "config.pbtxt").write_text(dedent(config))
        stage = LoadStage(id=ServableId("add_sub", 4))
        made.append(PythonBackend().load(directory, PythonOptions(), stage))
        return made[-1]

    yield load
    for each in made:
        each.close()


def executing(*lines: str, more: str = "") -> str:
    body = "\n".join(f"{' ' * 12}{line}" for line in lines)
    return f"""
    import triton_python_backend_utils as pb_utils
    import numpy as np

    class TritonPythonModel:
        {more}
        def execute(self, requests):
            (request,) = requests
            x = pb_utils.get_input_tensor_by_name(request, "X")
{body}
    """


def run(model: PythonModel, *feeds: Any) -> list[Any]:
    return model.program("serving_default").run(feeds)


def x(*values: int) -> Any:
    return np.array(values, np.int32)


def test_a_model_for_triton_runs_as_it_is(
    load: Load, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load(ADD_SUB, ADD_SUB_CONFIG)
    a, b = np.arange(4, dtype=np.float32), np.ones(4, np.float32)
    added, subtracted = run(model, a, b)
    np.testing.assert_array_equal(added, a + b)
    np.testing.assert_array_equal(subtracted, a - b)
    info = PythonBackend().inspect(directory, PythonOptions())
    assert info is not None
    assert info.signatures == model.signatures
    model.close()
    assert capsys.readouterr().out == "Cleaning up...\n"


def test_with_a_batch_size_the_shapes_have_rows(load: Load) -> None:
    source = executing(
        "return [pb_utils.InferenceResponse([pb_utils.Tensor('Y', x.as_numpy() * 2)])]"
    )
    config = "max_batch_size: 8\n" + dedent(ONE).replace("-1", "2")
    model = load(source, config)
    assert model.signatures["serving_default"].inputs["X"] == TensorSpec(DataType.INT32, (-1, 2))
    assert run(model, np.ones((3, 2), np.int32))[0].tolist() == [[2, 2]] * 3
    assert model.batching is None
    merged = load(source, config + "dynamic_batching { preferred_batch_size: [4] }")
    assert merged.batching is not None
    assert merged.batching.max_execution_batch_size == 8


def test_texts_are_bytes_in_and_any_text_out(load: Load) -> None:
    model = load(
        executing(
            "assert x.triton_dtype() == 13 and x.as_numpy()[0] == b'a'",
            "y = np.array(['b', 'c'], dtype=object)",
            "return [pb_utils.InferenceResponse([pb_utils.Tensor('Y', y)])]",
        ),
        ONE.replace("INT32", "STRING"),
    )
    assert run(model, np.array([b"a"], object))[0].tolist() == [b"b", b"c"]


def test_an_optional_input_may_be_absent(load: Load) -> None:
    model = load(
        executing(
            "y = np.array([-1 if x is None else x.as_numpy()[0]], np.int32)",
            "return [pb_utils.InferenceResponse([pb_utils.Tensor('Y', y)])]",
        ),
        ONE.replace("dims: [ -1 ] } ]", "dims: [ 1 ] optional: true } ]", 1),
    )
    absent = model.signatures["serving_default"].defaults["X"]
    assert run(model, absent)[0].tolist() == [-1]
    assert run(model, x(5))[0].tolist() == [5]


def test_a_model_may_complete_its_configuration(load: Load) -> None:
    complete = """
        @staticmethod
        def auto_complete_config(config):
            config.add_input({"name": "X", "data_type": "TYPE_INT32", "dims": [-1]})
            config.add_output({"name": "Y", "data_type": "TYPE_INT32", "dims": [-1]})
            config.set_max_batch_size(4)
            config.set_dynamic_batching()
            return config
"""
    model = load(
        executing(
            "return [pb_utils.InferenceResponse([pb_utils.Tensor('Y', x.as_numpy())])]"
        ).replace("class TritonPythonModel:", f"class TritonPythonModel:{complete}"),
        None,
    )
    assert model.signatures["serving_default"].outputs["Y"].shape == (-1, -1)
    assert model.batching is not None


def test_the_last_response_of_a_decoupled_model_is_the_answer(load: Load) -> None:
    model = load(
        executing(
            "sender = request.get_response_sender()",
            "def send():",
            "    for n in range(3):",
            "        y = pb_utils.Tensor('Y', np.array([n], np.int32))",
            "        sender.send(pb_utils.InferenceResponse([y]))",
            "    sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)",
            "import threading",
            "threading.Thread(target=send).start()",
        ),
        ONE + "model_transaction_policy { decoupled: true }",
    )
    assert run(model, x(1))[0].tolist() == [2]


@pytest.mark.parametrize(
    ("lines", "kind", "said"),
    [
        (["raise pb_utils.TritonModelException('no')"], Internal, "no"),
        (["raise ValueError('no')"], Internal, "no"),
        (["error = pb_utils.TritonError('bad x', pb_utils.TritonError.INVALID_ARG)",
          "return [pb_utils.InferenceResponse(error=error)]"], InvalidArgument, "bad x"),
        (["error = pb_utils.TritonError('not here', pb_utils.TritonError.UNSUPPORTED)",
          "return [pb_utils.InferenceResponse([], error)]"], Unimplemented, "not here"),
        (["return [pb_utils.InferenceResponse(error=pb_utils.TritonError('oh'))]"], Internal, "oh"),
        (["return []"], Internal, "a list of one response for each request"),
        (["return None"], Internal, "a list of one response for each request"),
        (["return [3]"], Internal, "no InferenceResponse"),
        (["return [pb_utils.InferenceResponse([])]"], Internal, "not returned Y"),
        (["return request.exec()"], Internal, r"InferenceRequest.exec \(BLS\) is not supported"),
        (["return x.to_dlpack()"], Internal, "Tensor.to_dlpack is not supported"),
        (["pb_utils.MetricFamily(name='a')"], Internal, "MetricFamily is not supported"),
        (["pb_utils.load_model('b')"], Internal, r"load_model \(BLS\) is not supported"),
    ],
)  # fmt: skip
def test_what_fails_has_the_code_that_the_model_says(
    load: Load, lines: list[str], kind: type[ServingError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        run(load(executing(*lines)), x(1))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("input {", "is no configuration of a model"),
        ("sequence_batching {}\n" + ONE, "asks for sequence_batching"),
        (None, "names no output"),
        (ONE.replace("TYPE_INT32", "TYPE_INVALID"), "has the data_type TYPE_INVALID"),
        (ONE.replace('"X"', '""'), "without a name"),
        (ONE + ONE, "of a name twice"),
        ("#" * (1 << 20) + "\n", "more than"),
        ("a {" * 100_000, "is no configuration of a model"),
    ],
)
def test_a_configuration_that_is_wrong_says_why(load: Load, config: str | None, said: str) -> None:
    with pytest.raises(FailedPrecondition, match=said):
        load(executing("return None"), config)


def test_what_initialize_raises_fails_the_load(load: Load) -> None:
    source = executing("return None").replace(
        "def execute",
        "def initialize(self, args): raise RuntimeError('no GPU')\n        def execute",
    )
    with pytest.raises(Internal, match=r"model\.py: no GPU"):
        load(source)


def test_an_async_execute_runs_in_a_loop_of_its_own(load: Load) -> None:
    model = load(
        executing(
            "import asyncio",
            "await asyncio.sleep(0)",
            "return [pb_utils.InferenceResponse([pb_utils.Tensor('Y', x.as_numpy())])]",
        ).replace("def execute", "async def execute")
    )
    assert model.start("serving_default", [x(3)]).result(20)[0].tolist() == [3]
