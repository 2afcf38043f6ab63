"""The page's pure modules, in the browser that runs them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from salver.metrics.buckets import SECONDS
from salver.metrics.catalogue import CATALOGUE
from salver.metrics.text import Distribution, Family
from salver.metrics.text import page as metrics_page
from tests.integration.chromium import Page, browsing
from tests.integration.serving import Server, running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = tmp_path_factory.mktemp("config") / "models.config"
    config.write_text("model_config_list {}")
    with running(f"--model_config_file={config}", command="salver") as server:
        yield server


@pytest.fixture(scope="module")
def page(server: Server) -> Iterator[Page]:
    with browsing() as page:
        page.open(server.url)
        page.wait_for_text("main", "This server has no models yet.")
        yield page


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, 2.5, NaN, -Infinity, Infinity], "b": null}',
        "[9007199254740993, -18446744073709551615]",
        '{"x": {"y": [true, false, "\\u00e9 \\"quoted\\" NaN"]}, "n": 1e-7}',
        '{"__proto__": 1234567890123456789, "constructor": NaN}',
        "[]",
        "{}",
        '"NaN"',
        "[[], {}, [NaN]]",
    ],
)
def test_json_comes_back_as_it_was(page: Page, text: str) -> None:
    again = page.module("json.js", "m.write(m.parse(args[0]))", text)
    assert page.module("json.js", "m.write(m.parse(args[0]))", again) == again
    assert again == text.replace("\\u00e9", "é")


@pytest.mark.parametrize(
    "text", ["[NaN", "[NaN,]", '{"a": NaN, b: 1}', "NaN NaN", "[-]NaN", "", "[1,"]
)
def test_json_that_is_none_is_refused(page: Page, text: str) -> None:
    script = "(() => { try { m.parse(args[0]); return '' } catch (e) { return e.name } })()"
    assert page.module("json.js", script, text) == "SyntaxError"


def test_pretty_json_is_the_same_json(page: Page) -> None:
    value = '{"instances": [[' + ", ".join(map(str, range(100))) + '], {"a": "b"}], "s": "t"}'
    shown = page.module("json.js", "m.pretty(m.parse(args[0]))", value)
    assert max(map(len, shown.splitlines())) <= 100
    assert page.module("json.js", "m.write(m.parse(args[0]))", shown) == value


@pytest.mark.parametrize(
    ("dtype", "shape", "name", "kinds"),
    [
        ("float32", [-1, 28, 28], "x", ["pad", "picture", "json"]),
        ("float32", [-1, 28, 28, 1], "x", ["pad", "picture", "json"]),
        ("uint8", [-1, 224, 224, 3], "x", ["picture", "json"]),
        ("float32", [1, 3, 224, 224], "x", ["picture", "json"]),
        ("float32", [-1, -1, -1, 3], "x", ["picture", "json"]),
        ("float32", [-1, 784], "x", ["pad", "picture", "numbers", "json"]),
        ("float32", [-1, 64], "x", ["pad", "picture", "table", "numbers", "json"]),
        ("float32", [-1, 3072], "x", ["picture", "numbers", "json"]),
        ("float32", [-1, 4], "x", ["table", "numbers", "json"]),
        ("int64", [-1], "x", ["table", "numbers", "json"]),
        ("float32", [], "x", ["table", "numbers", "json"]),
        ("float32", None, "x", ["table", "numbers", "json"]),
        ("int32", [-1, -1], "ids", ["numbers", "json"]),
        ("float32", [-1, 10, 5], "x", ["json"]),
        ("bool", [-1], "x", ["table", "json"]),
        ("string", [-1], "text", ["text", "file"]),
        ("string", [-1], "image_bytes", ["file", "text"]),
        ("string", [-1], "examples", ["text", "file", "examples"]),
        ("string", [-1, 3], "words", ["json"]),
        ("complex64", [-1], "x", ["json"]),
    ],
)
def test_an_input_is_given_in_the_ways_that_suit_it(
    page: Page, dtype: str, shape: list[int] | None, name: str, kinds: list[str]
) -> None:
    spec = {"name": name, "dtype": dtype, "shape": shape}
    assert page.module("shapes.js", "m.inputKinds(args[0])", spec) == kinds


@pytest.mark.parametrize(
    ("row", "labels", "views"),
    [
        (0.5, None, ["number", "json"]),
        ([0.5], None, ["number", "json"]),
        ([0.25, 0.75], None, ["classes", "table", "json"]),
        ([2.0, -1.0], None, ["table", "classes", "json"]),
        ([2.0, -1.0], ["a", "b"], ["classes", "table", "json"]),
        ([["cat", 0.5], ["dog", 0.25]], None, ["classes", "json"]),
        ("text", None, ["text", "json"]),
        ({"b64": "AA=="}, None, ["text", "json"]),
        ([[0.0] * 3] * 2, None, ["table", "json"]),
        ([[0.0] * 20] * 20, None, ["picture", "table", "json"]),
        ([[[0.0] * 3] * 8] * 8, None, ["picture", "json"]),
        ({"a": 1}, None, ["json"]),
        (None, None, ["json"]),
    ],
)
def test_an_answer_is_shown_as_what_it_is(
    page: Page, row: Any, labels: list[str] | None, views: list[str]
) -> None:
    assert page.module("results.js", "m.viewsOf(args[0], args[1])", row, labels) == views


def test_differences_are_the_largest_and_the_mean(page: Page) -> None:
    found = page.module("results.js", "m.difference([1, [2, 3]], [1, [2.5, 2]])")
    assert (found["same"], found["most"], found["mean"], found["differing"]) == (False, 1, 0.5, 2)
    assert page.module("results.js", "m.difference(NaN, NaN).same")
    assert page.module("results.js", "m.difference([1, 2], [1]).numeric") is False
    assert page.module("results.js", "m.difference('a', 'b').differing") == 1


def test_a_picture_is_fitted_averaged_and_scaled(page: Page) -> None:
    script = """(() => {
        const canvas = m.canvasOf(8, 4), draw = canvas.getContext('2d');
        draw.fillStyle = '#ff8000'; draw.fillRect(0, 0, 8, 4);
        draw.fillStyle = '#000'; draw.fillRect(0, 0, 4, 4);
        const layout = {channels: 3, order: 'hwc'}, of = (fit, settings) =>
            m.tensorOf(m.toned(m.resized(canvas, 2, 2, fit), settings, 3),
                       2, 2, layout, settings, false);
        return [of('stretch', {scale: 'unit'}), of('stretch', {scale: 'raw', bgr: true}),
                of('crop', {scale: 'signed', invert: true}),
                of('fit', {scale: 'top', top: 16, grey: true})];
    })()"""
    stretched, raw, cropped, fitted = page.module("pixels.js", script)
    assert stretched == [[[0, 0, 0], [1, 0.501961, 0]]] * 2
    assert raw[0] == [[0, 0, 0], [0, 128, 255]]
    assert cropped[0] == [[1, 1, 1], [-1, -0.00392157, 1]]
    assert fitted[0][0] == [0, 0, 0]  # half of the height is left over
    assert len({value for row in fitted for pixel in row for value in pixel}) > 1


def test_layouts_order_the_axes(page: Page) -> None:
    script = """['hwc', 'chw', 'flat'].map((order) => m.tensorOf(
        [1, 2, 3, 255, 4, 5, 6, 255], 2, 1, {channels: 3, order}, {scale: 'raw'}, true))"""
    assert page.module("pixels.js", script) == [
        [[[1, 2, 3], [4, 5, 6]]], [[[1, 4]], [[2, 5]], [[3, 6]]], [1, 2, 3, 4, 5, 6],
    ]  # fmt: skip


def test_examples_are_serialized_as_tensorflow_does(page: Page) -> None:
    from salver._pb import message_class

    features = [
        {"name": "f", "type": "float", "values": [1.5, -2]},
        {"name": "i", "type": "int", "values": [-1, 300]},
        {"name": "s", "type": "string", "values": ["é"]},
        {"name": "b", "type": "bytes", "values": ["AP8="]},
    ]
    data = page.module("tf_example.js", "[...m.serialized(args[0])]", features)
    feature = message_class("tensorflow.Example").FromString(bytes(data)).features.feature
    assert list(feature["f"].float_list.value) == [1.5, -2.0]
    assert list(feature["i"].int64_list.value) == [-1, 300]
    assert list(feature["s"].bytes_list.value) == ["é".encode()]
    assert list(feature["b"].bytes_list.value) == [b"\0\xff"]


def exported(count: int, failures: int, model: str = 'a"\\b\n') -> str:
    """A page of metrics as the server writes it."""
    by_name = {metric.name: metric for metric in CATALOGUE}
    counts = [0] * (len(SECONDS) + 1)
    counts[3], counts[5] = count - count // 10, count // 10
    call = (model, "1", "serving_default", "predict", "REST")
    families = [
        Family(by_name["salver_request_seconds"], [(call, Distribution(counts, 1.0))]),
        Family(
            by_name["salver_failed_requests_total"], [((model, "1", "INTERNAL", "REST"), failures)]
        ),
        Family(by_name["salver_process_resident_memory_bytes"], [((), 123456789)]),
    ]
    return metrics_page(families).decode()


def test_metrics_become_rates_and_percentiles(page: Page) -> None:
    script = """(() => {
        const looks = [m.snapshot(args[0], 10), m.snapshot(args[1], 20)];
        const found = m.between(...looks), [version] = looks[1].versions.values();
        return [version.model, version.version, looks[1].memory, found.rate, found.errors,
                [...found.codes], ...[0.5, 0.99].map((p) => m.percentile(found.latency, p))];
    })()"""
    found = page.module("metrics.js", script, exported(100, 1), exported(300, 11))
    model, version, memory, rate, errors, codes, median, slow = found
    assert (model, version, memory) == ('a"\\b\n', "1", 123456789)
    assert (rate, errors, codes) == (21, 1, [["INTERNAL", 10]])
    assert SECONDS[2] < median <= SECONDS[3]
    assert SECONDS[4] < slow <= SECONDS[5]


def test_a_version_that_was_loaded_again_counts_from_nothing(page: Page) -> None:
    script = "m.between(m.snapshot(args[0], 0), m.snapshot(args[1], 10)).rate"
    assert page.module("metrics.js", script, exported(300, 0), exported(20, 0)) == 2


def test_what_the_shell_and_python_would_misread_is_quoted(page: Page) -> None:
    assert page.module("snippets.js", "m.shellWord(`it's <a>`)") == "'it'\\''s <a>'"
    assert page.module("snippets.js", "m.shellWord('plain/word')") == "plain/word"
    value = {"a": [True, None, {"b64": "AA=="}]}
    written = page.module("snippets.js", "m.python(args[0])", value)
    assert written == '{"a": [True, None, base64.b64decode("AA==")]}'
    assert (
        page.module("snippets.js", "m.python([NaN, -Infinity])") == '[float("nan"), float("-inf")]'
    )


def test_numbers_are_short_but_true(page: Page) -> None:
    script = "args[0].map((value) => m.numberText(value))"
    numbers = [0, 1, 123456789, 0.1, 1 / 3, 1e-7, 1.5e12, -2.25]
    assert page.module("results.js", script, numbers) == [
        "0", "1", "123456789", "0.1", "0.33333", "1.000e-7", "1500000000000", "-2.25",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "words", "nodes"),
    [
        (
            "Matrix size-incompatible: In[0]: [1,3], In[1]: [2,1]\n"
            "\t [[{{function_node __inference_call_14}}{{node dense/MatMul}}]]",
            "Matrix size-incompatible: In[0]: [1,3], In[1]: [2,1]",
            "[[{{function_node __inference_call_14}}{{node dense/MatMul}}]]",
        ),
        (
            "{{function_node __wrapped__Reshape}} Input to reshape\n\t [[{{node a}}]]\n\t [[b]]",
            "Input to reshape\n[[b]]",
            "{{function_node __wrapped__Reshape}} [[{{node a}}]]",
        ),
        ("Servable not found", "Servable not found", ""),
        ("[[{{node a}}]]", "[[{{node a}}]]", ""),
    ],
)
def test_the_names_of_nodes_are_taken_out_of_a_message(
    page: Page, message: str, words: str, nodes: str
) -> None:
    found = page.module("messages.js", "m.withoutNodes(args[0])", message)
    assert found == {"words": words, "nodes": nodes}


def test_the_modules_are_those_of_the_package(page: Page, server: Server) -> None:
    static = Path(__file__).parents[2] / "src" / "salver" / "playground" / "static"
    for script in static.rglob("*.js"):
        served = server.get(f"/playground/{script.relative_to(static).as_posix()}")
        assert served.text == script.read_text(encoding="utf-8")


def test_a_string_of_megabytes_beside_nan_is_read(page: Page) -> None:
    text = "m.parse('[NaN, \"' + 'A'.repeat(2e7) + '\\\\\\\\\"]')[1].length"
    assert page.module("json.js", text) == 20_000_001


def test_very_many_classes_are_shown_and_nan_is_never_the_best(page: Page) -> None:
    assert page.module("results.js", "m.softmax(Array(300000).fill(1)).length") == 300_000
    bars = "m.classBars({row: Array(300000).fill(2), labels: null, state: {}})"
    assert page.module("outputs/classes.js", f"{bars}.querySelectorAll('li').length") == 5
    order = "m.classesOf([NaN, 0.1, 0.9], null).map((one) => one.index)"
    assert page.module("results.js", order) == [2, 1, 0]
