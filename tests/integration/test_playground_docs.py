"""The page of the API as people use it: in a real browser, against a real server."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from salver.demo.models import Format, write_models
from tests.described import write_described
from tests.integration.chromium import DESKTOP, PHONE, Page, browsing
from tests.integration.serving import Server, running

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("models")
    write_described(base)
    write_models(base, Format.SAVED_MODEL)
    (base / "digits.tflite").unlink()
    (base / "half_plus_two.tflite").unlink()
    (base / "tags").rename(base / HOSTILE.replace("/", ""))
    return base


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with running(str(models), command="salver") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browsing() as page:
        yield page


@pytest.fixture
def page(browser: Page, server: Server) -> Iterator[Page]:
    browser.resize(DESKTOP)
    browser.prefer("light")
    browser.open(f"{server.url}/docs")
    browser.run("localStorage.clear()")
    yield browser
    assert browser.problems() == []


def show(page: Page, server: Server, model: str, call: str = "") -> None:
    page.open(f"{server.url}/docs#/{model}/{call}")
    page.find(".operation h1")


def body(page: Page) -> str:
    return str(page.run("return document.querySelector('.request textarea').value"))


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        ("half_plus_two", "2.5"),  # numbers
        ("prices", "110.0"),  # columns, a category, a box to tick
        ("mood", "predictions"),  # text
        ("digits", "predictions"),  # a picture
        ("paper", "predictions"),  # a picture without examples
        ("loudness", "outputs"),  # a sound
    ],
)
def test_an_example_of_each_kind_of_input_is_filled_in_and_answered(
    page: Page, server: Server, model: str, answer: str
) -> None:
    show(page, server, model)
    assert json.loads(body(page))
    page.press("Send")
    page.wait_for_text(".answer-box", "200 OK")
    page.wait_for_text(".answer-box", answer)
    assert " ms" in page.text(".answer-box .facts")
    assert "version" in page.text(".answer-box .facts")


def test_its_curl_line_answers_the_same(page: Page, server: Server) -> None:
    show(page, server, "prices")
    command = page.text(".operation .snippets pre").replace("\\\n", " ")
    done = subprocess.run(shlex.split(f"{command} -s"), capture_output=True, check=True, timeout=30)
    assert json.loads(done.stdout) == {"predictions": [110.0]}


def test_what_a_body_may_hold_is_in_the_models_own_words(page: Page, server: Server) -> None:
    show(page, server, "prices")
    page.press("What the body may hold")
    words = page.wait_for_text(".request .schema", "Where it stands")
    for part in ("Rows", "area", "In m²", "0 to 500", "0 (north), 1 (south)"):
        assert part in words


def test_another_example_of_the_model_is_chosen(page: Page, server: Server) -> None:
    show(page, server, "prices")
    page.select(".request select", "1")
    assert len(json.loads(body(page))["instances"]) == 2


def test_an_error_is_shown_with_its_status(page: Page, server: Server) -> None:
    show(page, server, "half_plus_two")
    page.type_into(".request textarea", '{"instances": ["one"]}')
    page.press("Send")
    page.wait_for_text(".answer-box", "400 Bad request")
    page.wait_for_text(".answer-box", "is not of expected type: float")


def test_what_is_no_json_is_said_and_sent_all_the_same(page: Page, server: Server) -> None:
    show(page, server, "half_plus_two")
    page.type_into(".request textarea", "{")
    page.wait_for_text(".request .hint", "no JSON")
    page.press("Send")
    page.wait_for_text(".answer-box", "400")


def test_by_keyboard_alone_a_model_is_picked_and_asked(page: Page, server: Server) -> None:
    show(page, server, "half_plus_two")
    page.find(".sidebar select").send_keys("prices")
    page.wait_for_text("h1", "Ask House prices")
    assert page.run("return document.activeElement.tagName") == "H1"
    page.find(".request textarea").send_keys(Keys.CONTROL, Keys.ENTER)
    page.wait_for_text(".answer-box", "110.0")
    assert "200" in page.run("return document.querySelector('[aria-live]').textContent")


def test_the_same_call_of_another_model_stays_chosen(page: Page, server: Server) -> None:
    show(page, server, "half_plus_two", "regress.half_plus_two.v123")
    page.wait_for_text("h1", "Regress")
    page.select(".sidebar select", "half_plus_three")
    page.wait_for_text(".line code", "/v1/models/half_plus_three:regress")


def test_a_call_without_a_model_is_sent(page: Page, server: Server) -> None:
    show(page, server, "half_plus_two", "ready")
    page.press("Send")
    page.wait_for_text(".answer-box", '"status": "ok"')


def test_a_parameter_that_is_missing_is_asked_for(page: Page, server: Server) -> None:
    show(page, server, "half_plus_two", "status_version")
    field = page.find(".request .field select")
    assert field.get_attribute("value") == "123"
    show(page, server, "half_plus_two", "metadata_label")
    page.press("Send")
    page.wait_for_text(".request .hint", "Fill in label")


def test_a_name_that_looks_like_markup_is_text(page: Page, server: Server) -> None:
    show(page, server, "half_plus_two")
    page.select(".sidebar select", HOSTILE.replace("/", ""))
    page.wait_for_text("h1", "Ask <img")
    page.press("Send")
    page.wait_for_text(".answer-box", "200 OK")
    assert page.all("main img") == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_stands_out_of_the_page(page: Page, server: Server, scheme: str) -> None:
    page.resize(PHONE)
    page.prefer(scheme)
    show(page, server, "prices")
    page.press("Send")
    page.wait_for_text(".answer-box", "200 OK")
    assert page.run("return document.documentElement.scrollWidth") == PHONE[0]
    page.press("Operations")
    page.find(".operations a[data-operation='ready']").click()
    page.wait_for_text("h1", "Whether it should get traffic")
    assert page.run("return document.querySelector('.operations').open") is False


def test_every_control_has_a_name(page: Page, server: Server) -> None:
    show(page, server, "prices")
    nameless = page.run(
        "return [...document.querySelectorAll('button, select, input, textarea, summary, a')]"
        ".filter((e) => !e.textContent.trim() && !e.getAttribute('aria-label')"
        " && !(e.labels && e.labels.length)).map((e) => e.outerHTML)"
    )
    assert nameless == []


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "array", "items": {"type": "number"}, "minItems": 3}, [1, 1, 1]),
        ({"type": "object", "required": ["a"], "properties": {"a": {"const": 2}}}, {"a": 2}),
        ({"anyOf": [{"type": "string"}, {}]}, "text"),
        ({"allOf": [{"$ref": "#/x"}, {"properties": {"b": {"enum": [3]}}}]}, {"a": 1, "b": 3}),
        ({"type": "integer", "minimum": 4, "maximum": 6}, 5),
        ({"$ref": "#/nothing"}, None),
        ({"$ref": "#/loop"}, None),
    ],
)
def test_a_value_is_made_up_of_a_schema(page: Page, schema: object, value: object) -> None:
    document = {
        "x": {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}},
        "loop": {"$ref": "#/loop"},
    }
    made = page.module("docs/document.js", "m.sampleOf(args[0], args[1]) ?? null", document, schema)
    assert made == value


def test_no_value_is_made_up_that_would_be_too_long(page: Page) -> None:
    inner = {"type": "array", "minItems": 1_000_000_000, "items": {"type": "number"}}
    outer = {"type": "array", "minItems": 100_000, "items": inner}
    for schema in (inner, outer):
        assert page.module("docs/document.js", "m.sampleOf({}, args[0]) ?? null", schema) is None
