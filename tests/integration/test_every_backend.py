"""One server with a model of every backend: the same cases to each, over REST and gRPC."""

import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import salver
from salver.backends.selection import Selected, Selector
from salver.errors import InvalidArgument, NotFound, ServingError
from salver.vocabulary.dtypes import numpy_dtype
from salver.vocabulary.signature import Signature, TensorSpec
from tests.contract.test_backends import CASES as ALL
from tests.contract.test_backends import STRESS, Case
from tests.integration.serving import Server, running

ELSEWHERE = ("linear",)  # a package that a test of its own installs
CASES: list[Case] = [case for case in ALL if case.name not in ELSEWHERE]
each_case = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=STRESS if case.needs == "torch" else (), id=case.name)
        for case in CASES
    ],
)
each_api = pytest.mark.parametrize("api", ["http", "grpc"])


@pytest.fixture(scope="module")
def versions(
    model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Backend → a version directory, each below a base path of its own."""
    place = tmp_path_factory.mktemp("every")
    found = {}
    for case in CASES:
        if find_spec(case.needs) is not None:
            found[case.name] = place / case.name / "1"
            shutil.copytree(case.find(model_path), found[case.name])
    return found


@pytest.fixture(scope="module", params=["", "--isolation=process"], ids=["inside", "children"])
def server(versions: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Server]:
    place = next(iter(versions.values())).parents[1]
    entries = "".join(
        f'config {{ name: "{name}" base_path: "{version.parent}" model_platform: "tensorflow" }}\n'
        for name, version in versions.items()
    )
    config = place / "models.config"
    config.write_text(f"model_config_list {{\n{entries}}}\n")
    flags = [
        f"--model_config_file={config}",
        f"--trusted_model_paths={place}",
        f"--model_cache={place / 'cache'}",
        "--max_num_load_retries=0",
        request.param,
    ]
    with running(*filter(None, flags)) as started:
        yield started


@pytest.fixture
def client(api: str, server: Server) -> Iterator[salver.Client]:
    port = server.port if api == "http" else server.grpc_port
    with salver.Client(f"{api}://127.0.0.1:{port}") as made:
        yield made


@pytest.fixture
def signature(case: Case, versions: dict[str, Path]) -> Signature:
    version = versions[case.name]
    cache = str(version.parents[1] / "cache")
    selected: Selected = Selector(settings={"conversion_cache": cache})(version)
    info = selected.backend.describe(selected.path, selected.options)[0].info
    return info.signatures["serving_default"]


def _zeros(spec: TensorSpec) -> Any:
    shape = [max(1, size) for size in spec.shape or ()]
    dtype = numpy_dtype(spec.dtype)
    return np.full(shape, b"", object) if dtype.hasobject else np.zeros(shape, dtype)


@each_case
def test_both_apis_answer_alike(case: Case, server: Server, signature: Signature) -> None:
    feeds = {name: _zeros(spec) for name, spec in signature.inputs.items()}
    answers = []
    for url in (server.url, f"grpc://{server.grpc_target}"):
        with salver.Client(url) as client:
            answers.append(client.predict(case.name, feeds))
    rest, grpc = answers
    assert set(rest) == set(grpc) == set(signature.outputs)
    assert rest.version == grpc.version == 1
    for name, spec in signature.outputs.items():
        assert grpc[name].dtype == numpy_dtype(spec.dtype)
        if grpc[name].dtype.kind == "f":
            np.testing.assert_allclose(rest[name], grpc[name], rtol=1e-6)
        else:
            assert rest[name].tolist() == grpc[name].tolist()


@each_case
@each_api
def test_what_it_takes_and_gives_is_told(
    case: Case, client: salver.Client, signature: Signature
) -> None:
    told = client.metadata(case.name).signatures["serving_default"]
    assert set(told.inputs) == set(signature.inputs)
    assert set(told.outputs) == set(signature.outputs)
    for name, spec in signature.inputs.items():
        assert numpy_dtype(told.inputs[name].dtype) == numpy_dtype(spec.dtype)


@each_case
@each_api
def test_its_versions_are_told(case: Case, client: salver.Client) -> None:
    (version,) = client.status(case.name).versions
    assert (version.version, version.state) == (1, "AVAILABLE")


@each_case
@each_api
def test_an_input_it_does_not_have_is_an_error(
    case: Case, client: salver.Client, signature: Signature
) -> None:
    feeds = {name: _zeros(spec) for name, spec in signature.inputs.items()}
    with pytest.raises(InvalidArgument):
        client.predict(case.name, {**feeds, "nonsense": np.zeros(1, np.float32)})
    assert client.predict(case.name, feeds)  # it has cost the others nothing


@each_case
@each_api
def test_a_version_that_is_not_there_is_not_found(
    case: Case, client: salver.Client, signature: Signature
) -> None:
    feeds = {name: _zeros(spec) for name, spec in signature.inputs.items()}
    with pytest.raises(NotFound):
        client.predict(case.name, feeds, version=7)


@each_case
@each_api
def test_a_signature_that_is_not_there_is_an_error(
    case: Case, client: salver.Client, signature: Signature
) -> None:
    feeds = {name: _zeros(spec) for name, spec in signature.inputs.items()}
    with pytest.raises(ServingError) as caught:
        client.predict(case.name, feeds, signature="nonsense")
    assert "nonsense" in str(caught.value)


@each_case
def test_a_truncated_version_fails_and_the_old_one_serves_on(
    case: Case, server: Server, versions: dict[str, Path]
) -> None:
    base = versions[case.name].parent
    broken = base / "broken"
    shutil.copytree(versions[case.name], broken)
    file = broken / case.broken
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    broken.rename(base / "2")
    try:
        server.wait_until(case.name, 2, "END")
        assert server.states(case.name)[1] == "AVAILABLE"
    finally:
        shutil.rmtree(base / "2")
