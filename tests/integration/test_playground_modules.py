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
    call = (model, "1", "serving_default", "predict", "REST", "tfs")
    families = [
        Family(by_name["salver_request_seconds"], [(call, Distribution(counts, 1.0))]),
        Family(
            by_name["salver_failed_requests_total"],
            [((model, "1", "INTERNAL", "REST", "tfs"), failures)],
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


def spec(dtype: str, shape: list[int] | None, **said: Any) -> dict[str, Any]:
    return {"name": "x", "dtype": dtype, "shape": shape, "said": said}


@pytest.mark.parametrize(
    ("dtype", "shape", "said", "kinds"),
    [
        ("float32", [-1, 5, 5], {"kind": "image"}, ["pad", "picture", "json"]),
        ("float32", [-1, 300], {"kind": "image"}, ["picture", "numbers", "json"]),
        ("float32", [-1, 2, 8, 9], {"kind": "image", "layout": "CHW"}, ["picture", "json"]),
        ("float32", [-1, 28, 28], {"kind": "number"}, ["json"]),
        ("float32", [-1, 64], {"kind": "vector"}, ["table", "numbers", "json"]),
        ("float32", [-1, 640], {"kind": "vector"}, ["numbers", "json"]),
        ("float32", [-1, 16000], {"kind": "audio"}, ["sound", "numbers", "json"]),
        ("float32", [-1], {"kind": "audio"}, ["sound", "table", "numbers", "json"]),
        ("string", [-1], {"kind": "audio"}, ["file", "text"]),
        ("string", [-1], {"kind": "image"}, ["file", "text"]),
        ("string", [-1], {"kind": "text"}, ["text", "file"]),
        ("int64", [-1], {"kind": "category"}, ["table", "numbers", "json"]),
        ("complex64", [-1], {"kind": "image"}, ["json"]),
    ],
)
def test_what_the_model_says_comes_before_what_its_shape_suggests(
    page: Page, dtype: str, shape: list[int], said: dict[str, Any], kinds: list[str]
) -> None:
    script = "m.inputMeaning(args[0], 'predict', args[0].said).kinds"
    assert page.module("meaning.js", script, spec(dtype, shape, **said)) == kinds


@pytest.mark.parametrize(
    ("shape", "value", "rows"),
    [
        ([-1, 2], [1, 2], [[1, 2]]),
        ([-1, 2], [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ([-1], 5, [5]),
        ([-1], [5, 6], [5, 6]),
        ([2, 3], [[1, 2, 3], [4, 5, 6]], [[[1, 2, 3], [4, 5, 6]]]),
        ([], 5, [5]),
        (None, [5], [5]),
    ],
)
def test_an_example_is_one_row_or_several(page: Page, shape: Any, value: Any, rows: Any) -> None:
    script = "m.rowsOf(args[1], args[0])"
    assert page.module("meaning.js", script, spec("float32", shape), value) == rows


@pytest.mark.parametrize(
    ("dtype", "choices", "text", "value"),
    [
        ("int64", ["red", "green"], "green", 1),
        ("float32", ["red", "green"], "green", 1),
        ("string", ["red", "green"], "green", "green"),
        ("bool", ["no", "yes"], "yes", True),
        ("int64", [10, 20], "20", 20),
        ("bool", [False, True], "true", True),
    ],
)
def test_a_choice_is_sent_as_the_tensor_holds_it(
    page: Page, dtype: str, choices: list[Any], text: str, value: Any
) -> None:
    script = (
        "(() => { const [c] = m.columnsOf(args[0]); return [c.read(args[1]), c.show(args[2])] })()"
    )
    found = page.module("meaning.js", script, spec(dtype, [-1], choices=choices), text, value)
    assert found == [value, text]


@pytest.mark.parametrize(
    ("unit", "rate"), [("16 kHz", 16000), ("44100 Hz", 44100), ("", 16000), ("1 Hz", 16000)]
)
def test_the_rate_of_a_sound_is_its_unit(page: Page, unit: str, rate: int) -> None:
    assert page.module("meaning.js", "m.samplingRate(args[0])", unit) == rate


def test_the_ground_of_a_picture_is_what_its_border_shows(page: Page) -> None:
    script = """(() => {
        const picture = (ground, ink, draw) => {
            const pixels = new Uint8ClampedArray(32 * 32 * 4).fill(255);
            const put = (x, y, v) => pixels.fill(v, 4 * (32 * y + x), 4 * (32 * y + x) + 3);
            for (let y = 0; y < 32; y += 1) for (let x = 0; x < 32; x += 1) put(x, y, ground);
            draw((x, y) => put(x, y, ink));
            return m.groundOf(pixels, 32, 32);
        };
        const stroke = (put) => { for (let y = 5; y < 27; y += 1) { put(15, y); put(16, y) } };
        const across = (put) => { for (let y = 0; y < 32; y += 1) { put(15, y); put(16, y) } };
        const half = (put) => {
            for (let y = 0; y < 32; y += 1) for (let x = 0; x < 16; x += 1) put(x, y);
        };
        return [picture(255, 0, stroke), picture(0, 255, stroke), picture(200, 90, across),
                picture(120, 130, stroke), picture(0, 255, half), picture(40, 40, () => {})];
    })()"""
    found = page.module("ground.js", script)
    assert found == ["light", "dark", "light", None, None, None]


def test_a_picture_is_inverted_where_its_ground_is_not_the_one_that_is_wanted(page: Page) -> None:
    script = """args[0].map((choice) => ["dark", "light", null].map((wanted) =>
        ["dark", "light", null].map((found) => m.isToInvert(choice, wanted, found))))"""
    auto, yes, no = page.module("ground.js", script, ["auto", "yes", "no"])
    assert auto == [[False, True, False], [True, False, False], [False] * 3]
    assert yes == [[True] * 3] * 3
    assert no == [[False] * 3] * 3


def test_marks_are_cut_out_of_a_large_picture_and_of_no_small_one(page: Page) -> None:
    script = """(() => {
        const canvas = document.createElement('canvas');
        [canvas.width, canvas.height] = [400, 300];
        const draw = canvas.getContext('2d', {willReadFrequently: true});
        draw.fillStyle = '#eee'; draw.fillRect(0, 0, 400, 300);
        draw.fillStyle = '#222'; draw.fillRect(300, 40, 20, 60);
        const cut = m.marksOf(canvas, m.groundOfCanvas(canvas));
        const at = (x, y) => cut.getContext('2d').getImageData(x, y, 1, 1).data[0];
        const middle = cut.width / 2;
        const found = [cut.width === cut.height, cut.width, at(middle, middle), at(1, 1)];
        draw.fillRect(10, 10, 380, 280);
        return [...found, m.marksOf(canvas, 'light') === canvas,
                m.marksOf(canvas, null) === canvas];
    })()"""
    is_square, side, ink, paper, *whole = page.module("ground.js", script)
    assert is_square
    assert 60 < side < 100
    assert (ink < 60, paper > 220) == (True, True)
    assert whole == [True, True]


@pytest.mark.parametrize("scale", ["unit", "signed", "raw", "said"])
@pytest.mark.parametrize("order", ["hw", "hwc", "chw", "flat"])
def test_a_tensor_is_shown_as_the_pixels_it_was_made_of(page: Page, scale: str, order: str) -> None:
    script = """(() => {
        const channels = args[1] === 'hw' ? 1 : 3, layout = {channels, order: args[1]};
        const settings = {scale: args[0], range: [0, 16], bgr: args[1] === 'hwc'};
        const pixels = new Uint8ClampedArray(2 * 3 * 4);
        const value = (i) => (channels === 1 ? 51 * (i >> 2) : 10 * i);
        for (let i = 0; i < 24; i += 1) pixels[i] = i % 4 === 3 ? 255 : value(i);
        const tensor = m.tensorOf(pixels, 3, 2, layout, settings, false);
        const again = m.pixelsOf(tensor, 3, 2, layout, settings);
        return [[...pixels], [...again], m.pixelsOf([[1]], 3, 2, layout, settings)];
    })()"""
    before, after, wrong = page.module("pixels.js", script, scale, order)
    assert all(abs(a - b) <= 1 for a, b in zip(before, after, strict=True))
    assert wrong is None


def test_an_address_has_a_model_and_perhaps_an_input(page: Page) -> None:
    script = "args[0].map((one) => m.readAddress(one))"
    addresses = [
        "",
        "#/",
        "#/dashboard",
        "#/model/",
        "#/model/a%20b",
        "#/model/%",
        "#/model/m?x=1?2",
    ]
    assert page.module("link.js", script, addresses) == [
        {}, {}, {"dashboard": True}, {}, {"model": "a b", "query": ""}, {},
        {"model": "m", "query": "x=1?2"},
    ]  # fmt: skip


@pytest.mark.parametrize("body", ['{"instances": [1.5]}', "not JSON, ä 猫", "x" * 3000])
def test_an_input_comes_back_from_a_link_as_it_was(page: Page, body: str) -> None:
    script = """m.linkTo('m/1 ?',
        {signature: 's', which: {kind: 'label', label: 'ä&'}, body: args[0]})
        .then((link) => m.inputOf(m.readAddress(link).query).then((found) => [link, found]))"""
    link, found = page.module("link.js", script, body)
    assert link.startswith("#/model/m%2F1%20%3F?signature=s&label=%C3%A4%26&input=")
    assert found == {"signature": "s", "version": None, "label": "ä&", "body": body}


HISTORY = {
    "now": 1000.0, "began": 100.0, "step_seconds": 10.0,
    "latency_bounds": [0.001, 0.01], "batch_bounds": [1, 2], "totals": [["m", 30, 5]],
    "steps": [
        {"from": 980.0, "to": 990.0, "memory": 7,
         "versions": [["m", "1", [10, 0, 5], {"INTERNAL": 5}, [0, 4, 0], 8]]},
        {"from": 990.0, "to": 1000.0, "memory": None, "versions": []},
    ],
}  # fmt: skip


def test_what_the_server_remembers_becomes_windows(page: Page) -> None:
    script = """(() => {
        const steps = m.stepsOfHistory(args[0], 50);
        const pick = ({seconds, count, rate, failed, batchMean, latency}) =>
            [seconds, count, rate, failed, batchMean, [...latency.values()]];
        return [steps.map(({from, to, memory}) => [from, to, memory]),
                pick(m.windowOf(steps, 30, 40)), pick(m.windowOf(steps, 35, 50)),
                pick(m.windowOf(steps, 0, 30)), pick(m.windowOf(steps, 30, 40, () => false))];
    })()"""
    times, first, half, before, none = page.module("timeline.js", script, HISTORY)
    assert times == [[30, 40, 7], [40, 50, None]]
    assert first == [10, 20, 2, 5, 2, [10, 0, 5]]
    assert half == [15, 10, 10 / 15, 2.5, 2, [5, 0, 2.5]]
    assert before[:4] == [0, 0, 0, 0]
    assert none[:4] == [10, 0, 0, 0]


def test_what_is_remembered_and_what_is_seen_have_the_same_buckets(page: Page) -> None:
    remembered = {**HISTORY, "latency_bounds": SECONDS, "steps": [{
        "from": 990.0, "to": 1000.0, "memory": None,
        "versions": [["m", "1", [0, 0, 5, *[0] * (len(SECONDS) - 2)], {}, [], 0]],
    }]}  # fmt: skip
    script = """import('/playground/js/metrics.js').then(({snapshot, percentile}) => {
        const steps = m.stepsOfHistory(args[0], 50);
        steps.push(m.stepBetween(snapshot('', 50), snapshot(args[1], 60)));
        const {latency} = m.windowOf(steps, 40, 60);
        return [latency.size, percentile(latency, 0.5)];
    })"""
    size, median = page.module("timeline.js", script, remembered, exported(100, 0))
    assert size == len(SECONDS) + 1
    assert SECONDS[2] < median < SECONDS[3]


def test_old_steps_are_joined_and_the_oldest_dropped(page: Page) -> None:
    script = """(() => {
        const steps = [];
        const counts = {model: 'm', version: '1', latency: new Map([[1, 1]]),
                        failures: new Map([['A', 1]]), batches: new Map(), rows: 3};
        for (let at = 0; at < 100; at += 2) {
            steps.push({from: at, to: at + 2, memory: at, versions: new Map([['k', counts]])});
        }
        const thin = m.thinned(steps, 20, 80, 10);
        const all = m.windowOf(thin, 20, 100);
        return [thin.length, thin[0].from, thin.at(-1).from, all.count, all.failed, all.seconds];
    })()"""
    found = page.module("timeline.js", script)
    assert found == [6 + 11, 20, 98, 80, 40, 80]


def test_what_failed_at_a_version_that_goes_is_not_counted_again(page: Page) -> None:
    def looks(version: str, count: int) -> str:
        family = "salver_failed_requests_total"
        return f'{family}{{model_name="m",version="{version}",code="INTERNAL"}} {count}\n'

    script = """import('/playground/js/metrics.js').then(({snapshot}) => {
        const step = m.stepBetween(snapshot(args[0], 0), snapshot(args[1], 10));
        return m.windowOf([step], 0, 10).failed;
    })"""
    before, after = looks("1", 4) + looks("", 1), looks("", 6)
    assert page.module("timeline.js", script, before, after) == 1


@pytest.mark.parametrize(
    ("row", "labels", "said", "views"),
    [
        ([0.7], ["no", "yes"], {"kind": "classes"}, ["classes", "number", "json"]),
        (0.7, None, {"kind": "classes"}, ["classes", "number", "json"]),
        (2, ["a", "b", "c"], {"kind": "classes"}, ["classes", "number", "json"]),
        ([2.0, -1.0], None, {"kind": "classes"}, ["classes", "table", "json"]),
        ([0.25, 0.75], None, {"kind": "number"}, ["classes", "table", "json"]),
        ([[0.0] * 8] * 8, None, {"kind": "image"}, ["picture", "table", "json"]),
        ("text", None, {"kind": "classes"}, ["text", "json"]),
        ([0.5], None, {}, ["number", "json"]),
    ],
)
def test_an_answer_is_shown_as_what_the_model_says_it_is(
    page: Page, row: Any, labels: list[str] | None, said: dict[str, Any], views: list[str]
) -> None:
    script = "m.viewsFor(args[0], args[1], args[2])"
    assert page.module("outputs/sense.js", script, row, labels, said) == views


def test_the_clients_of_triton_and_kserve_are_written_for_what_is_made_of_tensors(
    page: Page,
) -> None:
    ask = {
        "origin": "http://h:8501", "model": "m/n", "which": {"kind": "label", "label": "stable"},
        "signature": {"name": "other", "call": "predict",
                      "inputs": [{"name": "x", "dtype": "bfloat16", "shape": [-1, 2]}]},
        "body": {"signature_name": "other", "instances": [[1, 2]]}, "usesFile": False,
    }  # fmt: skip
    triton, kserve = page.module("snippets_v2.js", "m.openInference(args[0])", ask)
    assert 'InferenceServerClient("h:8501")' in triton["text"]
    assert (
        'infer("m/n", inputs, model_version="stable", parameters={"signature_name": "other"})'
        in (triton["text"])
    )
    assert '"x": np.array([[1, 2]], dtype="float32"),' in triton["text"]
    assert '"x": "BF16"' in kserve["text"]
    assert 'model_name="m%2Fn/versions/stable"' in kserve["text"]
    for program in (triton, kserve):
        compile(program["text"], program["name"], "exec")
    ask["signature"]["call"] = "classify"  # type: ignore[index]
    assert page.module("snippets_v2.js", "m.openInference(args[0])", ask) == []
