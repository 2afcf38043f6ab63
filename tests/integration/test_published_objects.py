"""Objects of other libraries, from Python into a server and back."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pytest

import salver
from salver.errors import ServingError
from salver.exporting import export
from tests.integration.serving import run_command, running

pytestmark = pytest.mark.filterwarnings("default")  # of the libraries

X = np.arange(40, dtype=np.float32).reshape(20, 2)
IS_HIGH = X[:, 0] > 20
Y = np.array(["no", "yes"])[IS_HIGH.astype(int)]


Rows = Annotated[Any, "float32", [-1]]


def half(x: Rows) -> Rows:
    return x / 2 + 2


class Greeter:
    inputs: ClassVar[Any] = {"name": ("string", [])}
    outputs: ClassVar[Any] = {"greeting": ("string", [])}
    max_batch_size = 0

    def predict(self, inputs: Any) -> Any:
        name = inputs["name"].item()
        return {"greeting": np.array(b"hello " + name, object)}


def estimator() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(X, Y)


def forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(3).fit(X, Y)


def xgboost_model() -> Any:
    import xgboost

    return xgboost.XGBClassifier(n_estimators=3).fit(X, IS_HIGH.astype(int))


def lightgbm_model() -> Any:
    import lightgbm

    return lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=1, verbose=-1).fit(X, Y)


def onnx_model() -> Any:
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])

    weight = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])], "g", [value("x")], [value("y")], [weight]
    )
    opset = helper.make_opsetid("", 17)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def _labels(model: Any) -> Any:
    return model.predict(X)


def _probabilities(model: Any) -> Any:
    return model.predict_proba(X)[:, 1]


CASES: "dict[str, tuple[str, Callable[[], Any], Callable[[Any], Any]]]" = {
    "sklearn": ("skops", estimator, _labels),
    "xgboost": ("xgboost", xgboost_model, _probabilities),
    "lightgbm": ("lightgbm", lightgbm_model, _probabilities),
    "onnx": ("onnx", onnx_model, lambda _model: X * np.array([1, 2])),
}


def _needs(package: str) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


@pytest.mark.parametrize("case", CASES)
def test_what_is_published_passes_its_check_and_answers_as_the_object_does(
    case: str, tmp_path: Path
) -> None:
    package, make, expected = CASES[case]
    _needs(package)
    model = make()
    salver.publish(model, tmp_path / "m")
    with salver.serve(tmp_path / "m", grpc_port=0) as server:
        (answer, *_) = server.predict(X).values()
        wanted = expected(model)
        if wanted.dtype.kind == "U":
            assert [text.decode() for text in answer.tolist()] == wanted.tolist()
        else:
            np.testing.assert_allclose(answer, wanted, rtol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_an_object_is_served_and_replaced(case: str) -> None:
    package, make, _ = CASES[case]
    _needs(package)
    with salver.serve(make(), name="m", grpc_port=0) as server:
        assert server.predict(X).version == 1
        assert salver.serve(make(), name="m", grpc_port=0) is server
        assert server.predict(X).version == 2


def test_types_of_an_estimator_that_lives_here_are_trusted(tmp_path: Path) -> None:
    _needs("skops")
    model = forest()
    with salver.serve(estimator(), name="m", grpc_port=0):
        server = salver.serve(model, name="m", grpc_port=0)
        try:
            labels = server.predict(X)["y"].tolist()
            assert [text.decode() for text in labels] == model.predict(X).tolist()
            assert salver.serve(model, name="m", grpc_port=0) is server
        finally:
            server.stop()
    flag = "--sklearn_trusted_types=sklearn.tree._tree.Tree"
    with pytest.warns(UserWarning, match=f"only with {flag}$"):
        published = salver.publish(model, tmp_path / "m")
    with pytest.raises(ServingError, match=r"not trusted: .*Tree \(--sklearn_trusted_types\)"):
        salver.publish(published.path, tmp_path / "other")


def test_a_function_of_this_program_alone_in_an_estimator_is_refused(tmp_path: Path) -> None:
    _needs("skops")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    model = make_pipeline(FunctionTransformer(lambda x: x), estimator()).fit(X, Y)
    with pytest.raises(ServingError, match="<lambda>, which a server cannot import"):
        salver.publish(model, tmp_path / "m")


def test_a_function_is_published_and_served(tmp_path: Path) -> None:
    salver.publish(half, tmp_path / "half")
    with salver.serve(tmp_path / "half", grpc_port=0) as server:
        np.testing.assert_array_equal(server.predict([1.0, 2.0])["y"], [2.5, 3.0])


def test_so_is_the_class_of_a_python_model() -> None:
    with salver.serve(Greeter, grpc_port=0) as server:
        assert server.name == "Greeter"
        assert server.predict({"name": "you"})["greeting"].item() == b"hello you"


def test_a_directory_that_is_code_is_served_from_a_copy(tmp_path: Path) -> None:
    """A server trusts the path that it is given, and no link that leads out of it."""
    export(Greeter, tmp_path / "greeter")
    with salver.serve(tmp_path / "greeter", grpc_port=0) as server:
        assert server.predict({"name": "you"})["greeting"].item() == b"hello you"


def test_a_function_that_does_not_load_elsewhere_is_refused_by_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text(
        "import only_here_too\n\ndef broken(x: float) -> float:\n    return x + only_here_too.ONE\n"
    )
    (tmp_path / "only_here_too.py").write_text("ONE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    broken = import_module("only_here").broken
    with pytest.raises(ServingError, match="only_here_too"):
        salver.publish(broken, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_directory_of_files_of_all_kinds_is_served(tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    names = {"sklearn": "iris.skops", "xgboost": "trees.ubj", "onnx": "net.onnx"}
    for case, name in names.items():
        package, make, _ = CASES[case]
        _needs(package)
        export(make(), tmp_path / case)
        (file,) = (tmp_path / case).iterdir()
        zoo.mkdir(exist_ok=True)
        file.rename(zoo / name)
    export(half, zoo / "half")
    with running(str(zoo), command="salver") as server, salver.Client(server.url) as client:
        for name in ("iris", "trees", "net"):
            (answer, *_) = client.predict(name, X).values()
            assert len(answer) == len(X)
        assert client.predict("half", [2.0])["y"].tolist() == [3.0]
    for name in ("iris.skops", "trees.ubj", "net.onnx", "half"):
        shown = run_command("salver", "show", str(zoo / name))
        assert shown.returncode == 0, shown.stderr
        assert name.partition(".")[0] in shown.stdout
