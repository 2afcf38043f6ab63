"""Models of `model.py` files, loaded and run."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
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
    Aborted,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    ServingError,
)
from salver.vocabulary.servable import ServableId

WAIT_S = 20.0
Load = Callable[..., PythonModel]
DOUBLE = """
    class Model:
        inputs = {"x": ("float32", [-1])}
        outputs = {"y": ("float32", [-1])}

        def predict(self, inputs):
            return {"y": inputs["x"] * 2}
"""


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    made: list[PythonModel] = []

    def load(source: str | bytes, *, version: int = 1, **own: str) -> PythonModel:
        directory = tmp_path / "m" / str(version)
        directory.mkdir(parents=True, exist_ok=True)
        text = source if isinstance(source, bytes) else dedent(source).encode()
        (directory / "model.py").write_bytes(text)
        stage = LoadStage(id=ServableId("m", version))
        model = PythonBackend().load(directory, PythonOptions(own=own), stage)
        made.append(model)
        return model

    yield load
    for each in made:
        each.close()


def x(*values: float) -> Any:
    return np.array(values, np.float32)


def run(model: PythonModel, *feeds: Any, signature: str = "serving_default") -> list[Any]:
    return model.program(signature).run(feeds)


def test_a_class_of_a_few_lines_is_a_model(load: Load) -> None:
    (y,) = run(load(DOUBLE), x(1, 2))
    np.testing.assert_array_equal(y, x(2, 4))


def test_a_model_knows_where_it_is_and_what_it_is_told(load: Load, tmp_path: Path) -> None:
    (tmp_path / "m" / "3").mkdir(parents=True)
    (tmp_path / "m" / "3" / "weights.txt").write_text("5")
    model = load(
        """
        class Model:
            inputs = {}
            outputs = {"said": ("string", [-1])}

            def load(self, context):
                weights = (context.directory / "weights.txt").read_text()
                self.said = [context.name, str(context.version), context.options["limit"], weights]
                context.logger.warning("here I am")

            def predict(self, inputs):
                return {"said": self.said}
        """,
        version=3,
        limit="7",
    )
    assert run(model)[0].tolist() == [b"m", b"3", b"7", b"5"]


def test_its_lines_are_in_the_log(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    load(DOUBLE + "\n        def load(self, context): context.logger.warning('here I am')\n")
    assert [(each.name, each.message) for each in caplog.records] == [
        ("salver.models.m", "here I am")
    ]


def test_further_signatures_have_methods_of_their_names(load: Load) -> None:
    model = load(
        DOUBLE
        + """
        signatures = {"thrice": {"inputs": {"x": ("float32", [-1])},
                                 "outputs": {"z": ("float32", [-1]), "n": ("int64", [])}}}

        def thrice(self, inputs):
            return {"z": inputs["x"] * 3, "n": len(inputs["x"])}
    """
    )
    assert sorted(model.signatures) == ["serving_default", "thrice"]
    n, z = run(model, x(1, 2), signature="thrice")
    assert (n.tolist(), z.tolist()) == (2, [3, 6])
    (alone,) = model.program("thrice", ["z"]).run([x(1)])
    assert alone.tolist() == [3]
    with pytest.raises(NotFound):
        model.program("absent")


def test_it_is_closed_once_and_what_that_raises_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "model.py").write_text(
        dedent(DOUBLE)
        + "    def close(self):\n        open(__file__ + '.closed', 'x').close()\n"
        + "        raise RuntimeError('never mind')\n"
    )
    model = PythonBackend().load(tmp_path, PythonOptions(), LoadStage())
    assert not (tmp_path / "model.py.closed").exists()
    model.close()
    assert (tmp_path / "model.py.closed").exists()
    assert "never mind" in caplog.text


# -- modules ---------------------------------------------------------------------------------------

IMPORTS = """
    import helper
    from helper import SIGN
    from .helper import SIGN as again
    import tools.inner as inner
    from tools import inner as same
    import json

    class Model:
        inputs = {}
        outputs = {"said": ("string", [-1])}

        def predict(self, inputs):
            import helper as late
            from tools.inner import DEPTH
            assert inner is same and late is helper and again == SIGN and json.dumps([]) == "[]"
            return {"said": [SIGN, DEPTH]}
"""


def test_versions_have_modules_of_their_own_beside_them(load: Load, tmp_path: Path) -> None:
    models = []
    for version in (1, 2):
        tools = tmp_path / "m" / str(version) / "tools"
        tools.mkdir(parents=True)
        (tools / "__init__.py").touch()
        (tools / "inner.py").write_text(f"from helper import SIGN\nDEPTH = SIGN + '{version}'\n")
        (tools.parent / "helper.py").write_text(f"SIGN = 'of {version}'\n")
        models.append(load(IMPORTS, version=version))
    assert [run(model)[0].tolist() for model in models] == [
        [b"of 1", b"of 11"],
        [b"of 2", b"of 22"],
    ]
    assert "helper" not in sys.modules
    assert "tools" not in sys.modules


def test_nothing_is_written_into_the_version(load: Load, tmp_path: Path) -> None:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "helper.py").write_text("A = 1\n")
    load("import helper\n" + dedent(DOUBLE))
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "1", "helper.py", "m", "model.py",
    ]  # fmt: skip


def test_a_version_that_is_closed_leaves_no_module(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(dedent(DOUBLE))
    before = set(sys.modules), len(sys.meta_path)
    for _ in range(3):
        PythonBackend().load(tmp_path, PythonOptions(), LoadStage()).close()
    (tmp_path / "model.py").write_text("1 / 0")
    with pytest.raises(Internal):
        PythonBackend().load(tmp_path, PythonOptions(), LoadStage())
    left = {name for name in set(sys.modules) - before[0] if name.startswith("salver_python")}
    assert not left
    assert len(sys.meta_path) == before[1]


def test_a_file_that_has_changed_is_read_anew(load: Load) -> None:
    assert run(load(DOUBLE), x(1))[0].tolist() == [2]
    assert run(load(DOUBLE.replace("* 2", "* 5")), x(1))[0].tolist() == [5]


def test_classes_of_the_model_can_be_pickled_and_have_dataclasses(load: Load) -> None:
    model = load(
        """
        from __future__ import annotations
        import pickle
        from dataclasses import dataclass
        from typing import ClassVar

        @dataclass
        class Part:
            n: int = 4
            kind: ClassVar[str] = "part"

        class Model:
            inputs = {}
            outputs = {"n": ("int64", [])}

            def predict(self, inputs):
                return {"n": pickle.loads(pickle.dumps(Part())).n}
        """
    )
    assert run(model)[0].tolist() == 4


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "kind", "message"),
    [
        ("ValueError('x is too small')", InvalidArgument, "x is too small"),
        ("salver.errors.Aborted('again')", Aborted, "again"),
        ("KeyError('gone')", Internal, "'gone'"),
        ("RuntimeError()", Internal, "RuntimeError"),
        ("SystemExit(3)", Internal, "The model called sys.exit(3)"),
        ("KeyboardInterrupt()", Internal, "KeyboardInterrupt"),
        ("Mute()", Internal, "Mute, whose message cannot be read"),
        ("ValueError('x' * 10**7)", InvalidArgument, "x" * 10_000),
    ],
)
def test_what_a_run_raises_has_a_code(
    load: Load, raised: str, kind: type[ServingError], message: str
) -> None:
    source = f"""
        import salver.errors
        class Mute(Exception):
            def __str__(self): raise RuntimeError
        class Model:
            inputs, outputs = {{"x": ("float32", [-1])}}, {{"y": ("float32", [-1])}}
            def predict(self, inputs):
                if inputs["x"][0]: raise {raised}
                return {{"y": inputs["x"]}}
    """
    for text in (source, source.replace("def predict", "async def predict")):
        model = load(text)
        with pytest.raises(ServingError) as caught:
            run(model, x(1))
        assert (type(caught.value), caught.value.message) == (kind, message)
        assert run(model, x(0))[0].tolist() == [0], "it goes on"


def test_the_traceback_of_a_failed_run_is_in_the_log_alone(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    model = load(DOUBLE.replace("return", "raise RuntimeError('secret'); return"))
    with pytest.raises(Internal) as caught:
        run(model, x(1))
    assert caught.value.message == "secret"
    (record,) = caplog.records
    assert record.exc_info is not None
    assert "model.py" in (record.exc_text or logging.Formatter().format(record))


@pytest.mark.parametrize(
    ("source", "kind", "said"),
    [
        (b"def", FailedPrecondition, "is no Python program"),
        (b"\xff\x00", FailedPrecondition, "is no Python program|null bytes"),
        (b"class Model:\n  pass", FailedPrecondition, "no inputs and outputs"),
        (b"x = 1", FailedPrecondition, "has no class Model"),
        (b"import nothing_like_this", FailedPrecondition, "imports nothing_like_this, which is"),
        (b"import sys; sys.exit()", Internal, r"called sys.exit\(None\)"),
        (b"raise ValueError('no')", InvalidArgument, "model.py: no"),
        (b"1 / 0", Internal, "model.py: division by zero"),
        (b"x = " + b"(" * 10_000, FailedPrecondition, "is no Python program|cannot be loaded"),
        (b"x = " + b"-" * 200_000 + b"1", FailedPrecondition, "model.py"),
        (b"#" * (1 << 20) + b"\n", FailedPrecondition, "more than 1048576 bytes"),
        (b"from tests import *\nModel = 3", FailedPrecondition, "has no class Model"),
    ],
)
def test_a_file_that_makes_no_model_says_why(
    load: Load, source: bytes, kind: type[ServingError], said: str
) -> None:
    with pytest.raises(kind, match=said):
        load(source)


def test_a_load_that_fails_says_so_and_leaves_nothing(load: Load, tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(Internal, match=r"model\.py: no weights"):
        load(
            DOUBLE.replace("def predict", "async def predict")
            + "\n        def load(self, context): raise OSError('no weights')\n"
        )
    assert threading.active_count() == before


# -- what others may not notice --------------------------------------------------------------------


def test_a_model_that_writes_into_its_inputs_changes_nobody_elses(load: Load) -> None:
    model = load(DOUBLE.replace("return", "inputs['x'] += 1; return"))
    feed = x(1, 2)
    feed.flags.writeable = False
    assert run(model, feed)[0].tolist() == [4, 6]
    assert feed.tolist() == [1, 2]
    writable = x(1, 2)
    run(model, writable)
    assert writable.tolist() == [1, 2]


def test_a_model_that_gives_its_inputs_back_gives_a_copy(load: Load) -> None:
    model = load(DOUBLE.replace(" * 2", ""))
    feed = x(1)
    (y,) = run(model, feed)
    y[0] = 9
    assert feed.tolist() == [1]


def test_a_buffer_that_a_model_keeps_is_not_in_an_answer(load: Load) -> None:
    model = load(
        """
        import numpy as np
        class Model:
            inputs, outputs = {"x": ("float32", [1])}, {"y": ("float32", [1])}
            buffer = np.zeros(1, np.float32)
            def predict(self, inputs):
                self.buffer[:] = inputs["x"]
                return {"y": self.buffer}
        """
    )
    first = run(model, x(1))[0]
    run(model, x(2))
    assert first.tolist() == [1]


def test_plain_methods_run_one_at_a_time(load: Load) -> None:
    model = load(
        """
        import time
        class Model:
            inputs, outputs = {}, {"most": ("int64", [])}
            running = most = 0
            def predict(self, inputs):
                self.running += 1
                self.most = max(self.most, self.running)
                time.sleep(0.01)
                self.running -= 1
                return {"most": self.most}
        """
    )
    program = model.program("serving_default")
    threads = [threading.Thread(target=program.run, args=([],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert run(model)[0].tolist() == 1


# -- async, generators -----------------------------------------------------------------------------

MEETING = """
    import asyncio
    class Model:
        inputs, outputs = {"n": ("int64", [])}, {"n": ("int64", [])}
        async def load(self, context):
            self.all_here = asyncio.Event()
            self.here = 0
        async def predict(self, inputs):
            self.here += 1
            if self.here == inputs["n"]:
                self.all_here.set()
            await self.all_here.wait()
            return {"n": self.here}
"""


def test_async_methods_run_many_at_once_without_a_thread_each(load: Load) -> None:
    model = load(MEETING)
    before = threading.active_count()
    runs = [model.start("serving_default", [np.array(50)]) for _ in range(50)]
    assert threading.active_count() == before
    assert [done.result(WAIT_S)[0].tolist() for done in runs] == [50] * 50


def test_async_methods_run_in_threads_of_others_too(load: Load) -> None:
    model = load(MEETING)
    program = model.program("serving_default")
    threads = [threading.Thread(target=program.run, args=([np.array(2)],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def test_an_async_run_can_be_cancelled(load: Load) -> None:
    model = load(
        """
        import asyncio
        class Model:
            inputs, outputs = {"waits": ("bool", [])}, {"ended": ("int64", [])}
            signatures = {"until_begun": {"inputs": {}, "outputs": {"begun": ("bool", [])}}}
            async def until_begun(self, inputs):
                return {"begun": await self.begun.wait()}
            def __init__(self):
                self.begun, self.ended = asyncio.Event(), asyncio.Event()
            async def predict(self, inputs):
                if inputs["waits"]:
                    self.begun.set()
                    try:
                        await asyncio.Event().wait()
                    finally:
                        self.ended.set()
                await self.ended.wait()
                return {"ended": 1}
        """
    )
    first = model.start("serving_default", [np.array(True)])
    model.start("until_begun", []).result(WAIT_S)
    second = model.start("serving_default", [np.array(False)])
    assert first.cancel()
    assert second.result(WAIT_S)[0].tolist() == 1


def test_a_model_that_is_closed_ends_what_runs_in_its_loop(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(dedent(MEETING))
    model = PythonBackend().load(tmp_path, PythonOptions(), LoadStage())
    waiting = model.start("serving_default", [np.array(2)])
    model.close()
    assert isinstance(waiting.exception(WAIT_S), CancelledError)


def test_plain_methods_can_be_started_too(load: Load) -> None:
    model = load(DOUBLE)
    assert model.start("serving_default", [x(1)]).result(0)[0].tolist() == [2]
    with pytest.raises(InvalidArgument):
        model.start("serving_default", [np.zeros((1, 1), np.float32)]).result(0)


@pytest.mark.parametrize("prefix", ["", "async "])
def test_the_last_value_of_a_generator_is_the_answer(load: Load, prefix: str) -> None:
    model = load(
        f"""
        class Model:
            inputs, outputs = {{"n": ("int64", [])}}, {{"n": ("int64", [])}}
            {prefix}def predict(self, inputs):
                for i in range(inputs["n"]):
                    yield {{"n": i}}
        """
    )
    assert run(model, np.array(3))[0].tolist() == 2
    with pytest.raises(Internal, match="yielded nothing"):
        run(model, np.array(0))


# -- merged requests -------------------------------------------------------------------------------


def test_a_model_that_says_how_many_rows_a_run_may_have_is_batched(load: Load) -> None:
    model = load(DOUBLE.replace("inputs = {", "max_batch_size = 8\n        inputs = {", 1))
    assert model.batching is not None
    assert model.batching.max_execution_batch_size == 8
    assert load(DOUBLE, version=2).batching is None


def test_as_many_rows_come_out_as_go_in(load: Load) -> None:
    model = load(
        DOUBLE.replace("inputs = {", "max_batch_size = 8\n        inputs = {", 1).replace(
            "* 2", "[:1]"
        )
    )
    with pytest.raises(Internal, match="Output y has 1 rows for 2 of the inputs"):
        run(model, x(1, 2))
