import pytest

from salver.backends.keras.explanations import ended, explain, took_too_long
from salver.errors import Code, ServingError
from salver.instruments.installing import install_command

FILE = "/models/m/1/m.keras"


def _of(message: str, kind: str = "ValueError", step: str = "load", origin: str = "") -> str:
    return explain(FILE, step=step, kind=kind, message=message, origin=origin).message


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ("Could not locate class 'Net'. Make sure custom classes", "class 'Net'"),
        (
            "<class 'Sequential'> could not be deserialized properly. …\n\nException encountered: "
            "Could not locate function 'squared'. Make sure",
            "function 'squared'",
        ),
        (
            "Unknown layer: 'pkg>Twice'. Please ensure you are using a `keras.utils",
            "layer 'Twice'",
        ),
        (
            "Unknown activation function: 'act'. Please ensure you are using",
            "activation function 'act'",
        ),
        (
            "Unknown layer: Twice. Please ensure this object is passed to",
            "layer 'Twice'",
        ),
    ],
)
def test_a_class_that_is_missing_is_named(message: str, what: str) -> None:
    assert _of(message, "TypeError") == (
        f"{FILE} uses the {what}, which Keras does not know: its code is not in the file. Name the "
        "module that defines it, --keras_custom_objects=PATH.py, or export the model where it is "
        "defined, model.export('DIRECTORY/1'), and serve that"
    )


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("CodeInFile", "a Lambda layer with a Python function in the file"),
        (
            "ValueError",
            "Requested the deserialization of a `Lambda` layer whose `function` is a Python lambda",
        ),
    ],
)
def test_code_in_the_file_is_refused_with_the_flag_that_allows_it(kind: str, message: str) -> None:
    error = explain(FILE, step="load", kind=kind, message=message)
    assert error.code is Code.PERMISSION_DENIED
    assert error.message == (
        f"{FILE} has a Lambda layer, that is Python code in the file, which Keras' safe mode does "
        "not run. If you trust whoever made the file: --keras_safe_mode=false. Or export the model "
        "where it was made, model.export('DIRECTORY/1'), and serve that"
    )


@pytest.mark.parametrize(
    ("message", "code", "said"),
    [
        ("No model config found in the file at m.h5.", Code.FAILED_PRECONDITION, "weights alone"),
        (
            "There is no item named 'config.json' in the archive",
            Code.FAILED_PRECONDITION,
            "weights",
        ),
        (
            "Unable to synchronously open file (truncated file: eof = 3000)",
            Code.DATA_LOSS,
            "is no Keras file, or only a part of one: Unable to synchronously open file (truncated "
            "file: eof = 3000). Copy it again",
        ),
        ("Bad CRC-32 for file 'model.weights.h5'", Code.DATA_LOSS, "Bad CRC-32"),
        (
            "The model provided has not yet been built. It must be built before export.",
            Code.FAILED_PRECONDITION,
            "begin it with keras.Input(shape)",
        ),
    ],
)
def test_files_that_cannot_be_served_say_what_to_do(message: str, code: Code, said: str) -> None:
    error = explain(FILE, step="export", kind="OSError", message=message)
    assert (error.code, said in error.message) == (code, True), error.message


def test_what_is_not_known_is_passed_on_from_where_it_gets_to_the_point() -> None:
    assert _of("in it\n\nException encountered: no  such\nthing.") == (
        f"{FILE} could not be loaded by Keras: ValueError: no such thing"
    )
    assert _of("x" * 500, step="export") == (
        f"{FILE} could not be turned into a SavedModel: ValueError: {'x' * 400}…"
    )
    assert _of("odd", step="read") == f"{FILE} could not be looked at: ValueError: odd"


def test_a_file_of_keras_2_comes_with_the_package_that_reads_it() -> None:
    assert _of("odd", origin="2.15.0").endswith(
        "ValueError: odd. It was saved by Keras 2.15.0; with `pip install tf_keras` such files are "
        "loaded by Keras 2, where Keras 3 cannot"
    )
    assert _of("odd", origin="3.1").endswith("odd")


def test_imports_that_fail_say_which() -> None:
    assert _of("No module named 'h5py'", "ModuleNotFoundError", "import") == (
        "Serving a Keras file needs TensorFlow and Keras 3, which cannot be imported here: "
        "ModuleNotFoundError: No module named 'h5py'. Install them with: "
        f"{install_command('tensorflow')}"
    )
    assert _of("No module named 'mine'", "ModuleNotFoundError", "custom_objects") == (
        "A module of --keras_custom_objects cannot be imported: ModuleNotFoundError: "
        "No module named 'mine'"
    )


def test_memory_that_runs_out_is_called_so() -> None:
    error: ServingError = explain(FILE, step="load", kind="MemoryError", message="")
    assert (error.code, error.message) == (
        Code.RESOURCE_EXHAUSTED,
        f"There is not enough memory to convert {FILE}",
    )
    killed = ended(FILE, -9, "")
    assert killed.code is Code.RESOURCE_EXHAUSTED
    assert killed.message.startswith(f"The conversion of {FILE} was killed (SIGKILL), which is ")


@pytest.mark.parametrize(
    ("status", "lines", "said"),
    [
        (3, "", "(exit status 3)"),
        (-11, "Fatal | bad", "(SIGSEGV). Its last lines: Fatal | bad"),
        (-77, "", "(signal 77)"),
    ],
)
def test_an_end_without_a_report_says_how(status: int, lines: str, said: str) -> None:
    assert ended(FILE, status, lines).message == (
        f"The conversion of {FILE} ended without a result {said}"
    )


def test_a_conversion_that_takes_too_long_names_the_flag() -> None:
    error = took_too_long(FILE, 600.0)
    assert error.code is Code.DEADLINE_EXCEEDED
    assert error.message == (
        f"The conversion of {FILE} was given up after 600 s. --conversion_timeout_seconds allows "
        "more"
    )
