"""The page as people use it: in a real browser, against a real server."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from tests.integration.chromium import DESKTOP, PHONE, Page, browsing, picture_file
from tests.integration.serving import SOURCES, Server, eventually, start

HOSTILE = "<img src=x onerror=alert(1)>"
SEVEN = [(-50, -80), (60, -80), (0, 90)]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
CATALOGUED = ["classes", "failing", "half_plus_two", "mlp", "regression", "several", "slicer",
              "slow", "strings"]  # fmt: skip
EVERY = "model_version_policy { all {} }"


@pytest.fixture(scope="module")
def digits(model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of a net that reads digits; the names of its classes lie beside version 2."""
    base = tmp_path_factory.mktemp("playground") / "digits"
    shutil.copytree(model_path("convnet"), base)
    (base / "2" / "assets").mkdir(exist_ok=True)
    (base / "2" / "assets" / "labels.txt").write_text("\n".join(DIGITS))
    return base


@pytest.fixture(scope="module")
def server(
    digits: Path, model_path: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("config")
    names = directory / "names.txt"
    names.write_text("\n".join([f"{HOSTILE} {digit}" for digit in DIGITS]))
    hostile = directory / "hostile"
    shutil.copytree(model_path("mlp"), hostile)
    (hostile / "1" / "assets").mkdir(exist_ok=True)
    shutil.copy(names, hostile / "1" / "assets" / "labels.txt")
    models = {name: (model_path(name), "") for name in CATALOGUED}
    models["regression"] = (model_path("regression"), EVERY)
    models["digits"] = (digits, f'{EVERY} version_labels {{ key: "canary" value: 2 }}')
    models[HOSTILE] = (hostile, "")
    models["broken"] = (model_path("corrupt_pb"), "")
    config = directory / "models.config"
    config.write_text(
        "model_config_list {\n"
        + "\n".join(
            f'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" {more} }}'
            for name, (path, more) in models.items()
        )
        + "\n}\n"
    )
    server = start(
        f"--model_config_file={config}",
        f"--labels_file=slicer={names}",
        "--allow_version_labels_for_unavailable_models",
        "--max_num_load_retries=0",
        command="salver",
    )
    try:  # one of the models never loads, so the server is never ready as a whole
        server.out.wait_for("Salver ")
        server.wait_until("digits", 2)
        server.wait_until(HOSTILE, 1)
        yield server
    finally:
        server.dispose()


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with browsing() as page:
        yield page


@pytest.fixture
def page(browser: Page, server: Server) -> Iterator[Page]:
    """A browser that remembers nothing; the page must not have complained of anything."""
    browser.resize(DESKTOP)
    browser.prefer("light")
    browser.open(f"{server.url}/playground/about")
    browser.run("localStorage.clear()")
    browser.problems()
    yield browser
    assert browser.problems() == []


def show(page: Page, server: Server, model: str) -> None:
    """Open the page of a model."""
    page.open(f"{server.url}/#/model/{model.replace(' ', '%20')}")
    page.wait_for_text("h1", model)
    page.find(".card")


def test_a_picture_is_uploaded_and_its_class_is_shown(
    page: Page, server: Server, digits: Path, tmp_path: Path
) -> None:
    images, truth = np.load(digits / "images.npy"), np.load(digits / "labels.npy")
    answers = np.array(server.predict("digits", images[:20].tolist()).json()["predictions"])
    right = int(np.argmax(answers.argmax(axis=1) == truth[:20]))
    pixels = np.rint(images[right] * 255).astype(np.uint8).repeat(3, axis=2)
    file = tmp_path / "digit.png"
    file.write_bytes(picture_file(pixels.repeat(20, axis=0).repeat(20, axis=1)))

    show(page, server, "digits")
    page.find(".input .segments input[value=picture] + span").click()
    page.find("input[type=file]").send_keys(str(file))
    best = page.wait_for_text(".bars .best", "%")
    assert best.splitlines()[0] == DIGITS[truth[right]]
    share = float(best.splitlines()[1].removesuffix(" %")) / 100
    assert share == pytest.approx(answers[right].max(), abs=0.02)
    assert "digit.png, 160 × 160" in page.text(".drop")
    assert page.text(".preview .hint").startswith("8 × 8, values from 0 to ")
    assert page.text(".facts").startswith("Version 2")


def test_a_digit_is_drawn_and_its_class_is_shown(page: Page, server: Server) -> None:
    show(page, server, "digits")
    page.draw("canvas.pad", SEVEN)
    assert page.wait_for_text(".bars .best", "%").startswith("seven")
    page.press("Clear")
    page.press("Run")
    assert page.wait_for_text(".error", "first") == "Draw something first."


def test_a_wrong_input_shows_the_servers_words_and_its_hint(page: Page, server: Server) -> None:
    show(page, server, "half_plus_two")
    page.pick("Form or JSON", "json")
    page.type_into("textarea.json", '{"instances": ["one"]}')
    page.press("Run")
    refusal = server.predict("half_plus_two", ["one"]).json()
    shown = page.wait_for_text(".error", "HTTP 400")
    assert refusal["error"] in shown
    assert refusal.get("hint", "") in shown
    page.type_into("textarea.json", '{"instances": [2.0]}')
    page.press("Run")
    assert page.wait_for_text(".big-number", "3") == "3"


def test_what_a_form_cannot_send_is_said_at_the_form(page: Page, server: Server) -> None:
    show(page, server, "regression")
    page.type_into("table.cells input", "many")
    page.press("Run")
    assert "“many” is no number" in page.wait_for_text(".error", "Row 1")


def test_the_error_of_a_model_is_shown_as_it_is(page: Page, server: Server) -> None:
    show(page, server, "failing")
    page.type_into("table.cells input", "-1")
    page.press("Run")
    assert "x must not be negative" in page.wait_for_text(".error", "HTTP 400")


def test_the_names_of_the_graphs_nodes_come_last_and_the_shape_is_explained(
    page: Page, server: Server
) -> None:
    show(page, server, "regression")
    page.pick("Form or JSON", "json")
    page.type_into("textarea.json", '{"instances": [[1.0, 2.0, 3.0]]}')
    page.press("Run")
    shown = page.wait_for_text(".error", "HTTP 400")
    assert "{{node" not in page.wait_for_text(".error .message", "Matrix size-incompatible")
    assert "is [1, 3], the signature says [-1, 1]" in page.wait_for_text(".error .advice", "Input")
    assert shown.index("HTTP 400") < shown.index("{{node")


def test_a_slow_model_can_be_given_up(page: Page, server: Server) -> None:
    show(page, server, "slow")
    page.type_into("table.cells input", "30000")
    page.press("Run")
    page.wait_for_text(".result", "Waiting for the answer")
    page.press("Cancel", ".result")
    eventually("it waits no more", lambda: page.all(".result:not([aria-busy])"))
    assert "Waiting" not in page.text(".result")


def test_an_answer_that_breaks_off_and_metadata_that_fail_are_told_and_tried_again(
    page: Page, server: Server
) -> None:
    show(page, server, "half_plus_two")
    page.find("table.cells input")
    page.run(
        "window.trueFetch = fetch; window.fetch = (path, more) => more.method === 'POST'"
        " || path.endsWith('/metadata') ? Promise.resolve(new Response(new ReadableStream({start: "
        "(out) => out.error(new TypeError('network error'))}))) : trueFetch(path, more)"
    )
    page.press("Run")
    page.wait_for_text(".error", "The server does not answer.")
    assert page.all(".result[aria-busy]") == []
    page.run("location.hash = '#/model/strings'")
    page.wait_for_text(".problem", "The server does not answer.")
    page.run("window.fetch = trueFetch")
    page.find(".model-page .work .card textarea, .model-page .work .card input")
    eventually("the error goes", lambda: not page.text(".problem"))


def test_a_model_that_does_not_load_says_why(page: Page, server: Server) -> None:
    show(page, server, "broken")
    assert "saved_model.pb" in page.wait_for_text(".error .message", "saved_model.pb")
    assert "failed" in page.text(".versions")
    assert "failed" in page.text(".models")


def test_markup_in_names_labels_and_answers_stays_text(page: Page, server: Server) -> None:
    page.run("window.alert = () => { document.title = 'RUN' }")
    show(page, server, HOSTILE)
    page.draw("canvas.pad", SEVEN)
    page.wait_for_text(".bars .name", HOSTILE)
    assert HOSTILE in page.text(".models")
    assert HOSTILE in page.text("pre.code") or "%3Cimg" in page.text("pre.code")
    show(page, server, "strings")
    page.select("[data-control=signature]", "echo_bytes")
    page.wait_for_text(".input-title", "image_bytes")
    page.pick("How to give image_bytes", "text")
    page.type_into(".editor textarea", f"{HOSTILE}<script>alert(2)</script>")
    page.press("Run")
    page.wait_for_text(".texts", "<script>alert(2)</script>")
    assert page.all("img[onerror], main script") == []
    assert page.driver.title != "RUN"


def test_two_versions_are_compared(page: Page, server: Server) -> None:
    show(page, server, "digits")
    page.draw("canvas.pad", SEVEN)
    page.wait_for_text(".bars .best", "seven")
    page.select("[data-control=compare]", "1")
    page.wait_for_text(".pairs", "Difference")
    assert page.text(".pairs thead").split("\n") == ["Class Version 2 Version 1 Difference"]
    assert page.text(".verdict").startswith(("Both say seven.", "They disagree: "))
    assert "Version 2" in page.text(".facts")
    assert "Version 1" in page.text(".facts")
    show(page, server, "regression")
    page.select("[data-control=compare]", "1")
    page.press("Run")
    assert "Difference" in page.wait_for_text(".verdict", "Difference")
    assert len(page.all(".side-by-side .big-number")) == 2


def test_a_version_or_label_is_chosen_and_answers(page: Page, server: Server) -> None:
    show(page, server, "digits")
    page.select("[data-control=version]", "version:1")
    page.draw("canvas.pad", SEVEN)
    page.wait_for_text(".facts", "Version 1")
    assert "/v1/models/digits/versions/1:predict" in page.text("pre.code")
    page.select("[data-control=version]", "label:canary")
    page.wait_for_text(".facts", "Version 2")
    assert "/v1/models/digits/labels/canary:predict" in page.text("pre.code")


def test_several_inputs_share_a_table(page: Page, server: Server) -> None:
    show(page, server, "several")
    page.press("Add a row")
    cells = page.all("table.cells input")
    for cell, text in zip(cells, ["1.5", "2", "10", "hello", "3", "4", "100", "you"], strict=True):
        cell.send_keys(Keys.CONTROL, "a")
        cell.send_keys(text)
    page.press("Run")
    page.wait_for_text(".result", "HELLO")
    assert "101" in page.text(".output")
    page.pick("Form or JSON", "json")
    typed = page.find("textarea.json").get_property("value")
    assert typed == (
        '{\n  "instances": [\n    {"a": [1.5, 2], "b": 10, "text": "hello"},\n'
        '    {"a": [3, 4], "b": 100, "text": "you"}\n  ]\n}'
    )
    page.type_into("textarea.json", '{"instances": [{"a": [7, 8], "b": 9, "text": "z"}]}')
    page.pick("Form or JSON", "form")
    values = [cell.get_property("value") for cell in page.all("table.cells input")]
    assert values == ["7", "8", "9", "z"]


def test_examples_are_made_of_named_features(page: Page, server: Server) -> None:
    show(page, server, "half_plus_two")
    page.select("[data-control=signature]", "regress_x_to_y")
    page.wait_for_text(".example", "Example 1")
    page.type_into("[aria-label='Example 1, feature 1, value, or several with commas']", "80")
    page.press("Run")
    assert page.wait_for_text(".big-number", "4") == "42"


def test_a_file_goes_as_bytes_and_a_picture_comes_back(
    page: Page, server: Server, tmp_path: Path
) -> None:
    file = tmp_path / "square.png"
    file.write_bytes(picture_file(np.full((12, 12, 3), 200, np.uint8)))
    show(page, server, "strings")
    page.select("[data-control=signature]", "echo_bytes")
    page.wait_for_text(".input-title", "image_bytes")
    page.find("input[type=file]").send_keys(str(file))
    page.wait_for_text(".drop", "square.png")
    page.press("Run")
    answer = page.find("img.answer")
    eventually(
        "the picture is there", lambda: page.run("return arguments[0].naturalWidth", answer) == 12
    )


def test_the_camera_gives_a_picture(page: Page, server: Server) -> None:
    show(page, server, "slicer")
    page.press("Camera")
    eventually(
        "the camera runs",
        lambda: page.run("return document.querySelector('video')?.videoWidth > 0"),
    )
    page.press("Take the picture")
    page.wait_for_text(".drop", "From the camera")
    assert "Version 1" in page.wait_for_text(".facts", "Version 1")
    assert page.all("dialog") == []


def test_settings_of_pictures_are_remembered(page: Page, server: Server) -> None:
    show(page, server, "slicer")
    page.select("[data-setting=scale]", "signed")
    page.select("[data-setting=bgr]", "bgr")
    show(page, server, "slicer")
    assert page.find("[data-setting=scale]").get_property("value") == "signed"
    assert page.find("[data-setting=bgr]").get_property("value") == "bgr"
    show(page, server, "mlp")
    assert page.find("[data-setting=scale]").get_property("value") == "unit"


def test_names_of_classes_can_be_typed_in(page: Page, server: Server) -> None:
    show(page, server, "mlp")
    page.draw("canvas.pad", SEVEN)
    page.wait_for_text(".bars .name", "class ")
    page.press("Names of classes")
    page.find(".labels textarea").send_keys("\n".join(DIGITS))
    page.press("Use these names")
    page.press("Show all 10")
    names = page.wait_for_text(".bars .name", "seven").split("\n")
    assert sorted(names) == sorted(DIGITS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_follows_the_system_and_the_button(
    page: Page, server: Server, scheme: str
) -> None:
    def brightness() -> float:
        colour = page.run("return getComputedStyle(document.documentElement).backgroundColor")
        return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 765

    page.prefer(scheme)
    show(page, server, "mlp")
    assert (brightness() < 0.5) == (scheme == "dark")
    page.find("#theme").click()
    assert brightness() > 0.5
    page.find("#theme").click()
    assert brightness() < 0.5
    show(page, server, "mlp")
    assert brightness() < 0.5
    page.find("#theme").click()
    assert (brightness() < 0.5) == (scheme == "dark")


def test_nothing_is_wider_than_a_phone(page: Page, server: Server) -> None:
    page.resize(PHONE)
    for model in ("digits", "several", "strings", "slicer", "half_plus_two", "broken", HOSTILE):
        show(page, server, model)
        assert page.run("return document.documentElement.scrollWidth") <= PHONE[0], model
    show(page, server, "digits")
    page.draw("canvas.pad", SEVEN)
    page.select("[data-control=compare]", "1")
    page.wait_for_text(".pairs", "Difference")
    assert page.run("return document.documentElement.scrollWidth") <= PHONE[0]
    page.open(f"{server.url}/#/dashboard")
    page.wait_for_text(".tiles", "Requests")
    assert page.run("return document.documentElement.scrollWidth") <= PHONE[0]


class TestKeyboard:
    def test_a_digit_is_drawn_and_asked_about_without_a_mouse(
        self, page: Page, server: Server
    ) -> None:
        show(page, server, "digits")
        page.find("canvas.pad")
        self.tab_to(page, "canvas.pad")
        left, right, down = Keys.ARROW_LEFT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN
        page.keys(*[left] * 5, " ", *[right] * 10, *[down, down, down, left] * 5)
        page.keys(" ")
        page.driver.switch_to.active_element.send_keys(Keys.CONTROL, Keys.ENTER)
        said = eventually(
            "the answer is announced",
            lambda: self.announced(page) if "seven" in self.announced(page) else "",
        )
        assert said.startswith("Version 2 answered in ")

    def test_every_control_can_be_reached_is_named_and_shows_its_focus(
        self, page: Page, server: Server
    ) -> None:
        show(page, server, "digits")
        page.draw("canvas.pad", SEVEN)
        page.wait_for_text(".snippets", "curl")
        page.run("document.querySelector('.skip').focus()")
        page.driver.switch_to.active_element.send_keys(Keys.SHIFT, Keys.TAB)
        seen: list[str] = []
        for _ in range(60):
            page.keys(Keys.TAB)
            if page.run("return document.activeElement === document.body"):
                break  # once around
            name, outline = page.run(
                """const at = document.activeElement;
                const box = at.matches('.segments input') ? at.nextSibling : at;
                const labels = [...(at.labels ?? [])].map((label) => label.textContent).join();
                return [at.getAttribute('aria-label') || labels || at.textContent.trim() || at.id,
                        getComputedStyle(box).outlineStyle];"""
            )
            assert name, page.run("return document.activeElement.outerHTML")
            assert outline == "solid" or name == "main", name
            seen.append(name)
        for wanted in ("Skip to the model", "Dashboard", "Version", "Draw", "Clear", "Brush",
                       "Values", "Run", "curl"):  # fmt: skip
            assert wanted in seen

    def test_following_a_link_leads_to_the_heading(self, page: Page, server: Server) -> None:
        show(page, server, "digits")
        page.find(".models a[href='#/model/mlp']").send_keys(Keys.ENTER)
        page.wait_for_text("h1", "mlp")
        assert page.driver.switch_to.active_element.text == "mlp"
        assert page.driver.title == "mlp · Salver"

    @staticmethod
    def announced(page: Page) -> str:
        return str(page.find("[aria-live=polite]").get_property("textContent"))

    @staticmethod
    def tab_to(page: Page, selector: str) -> None:
        for _ in range(60):
            page.keys(Keys.TAB)
            if page.run("return document.activeElement.matches(arguments[0])", selector):
                return
        raise AssertionError(f"Tab does not come to {selector}")


class TestPrograms:
    def program(self, page: Page, language: str) -> str:
        page.pick("Language", language)
        return page.find(".snippets pre").text

    def test_each_program_asks_what_the_page_asks(self, page: Page, server: Server) -> None:
        show(page, server, "several")
        page.wait_for_text(".snippets", "curl")
        curl = subprocess.run(
            ["bash", "-c", self.program(page, "curl")], capture_output=True, text=True, check=True
        )
        pythons = ("Python: requests", "Python: salver")
        programs = [self.program(page, language) for language in pythons]
        answers = [curl.stdout, *map(self.python, programs)]
        assert all("product" in answer and "next" in answer for answer in answers)

    def test_a_large_input_is_read_from_a_file(
        self, page: Page, server: Server, tmp_path: Path
    ) -> None:
        show(page, server, "mlp")
        page.draw("canvas.pad", SEVEN)
        assert "curl -d @request.json" in page.wait_for_text(".snippets pre", "request.json")
        body = page.module("json.js", "m.write({instances: [Array(28).fill(Array(28).fill(0))]})")
        (tmp_path / "request.json").write_text(body)
        answer = self.python(self.program(page, "Python: requests"), tmp_path)
        assert answer.startswith("version 1")
        assert "request.json" in self.program(page, "Python: gRPC")

    @staticmethod
    def python(program: str, directory: Path | None = None) -> str:
        return subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": str(SOURCES), "PATH": "/usr/bin:/bin"},
            cwd=directory,
            capture_output=True,
            text=True,
            check=True,
        ).stdout


def test_the_dashboard_shows_traffic(page: Page, server: Server) -> None:
    page.open(f"{server.url}/#/dashboard")
    page.wait_for_text(".tiles", "Requests")
    for _ in range(50):
        server.predict("regression", [[1.0]])
    server.predict("regression", ["no number"])
    row = (
        "return [...document.querySelectorAll('.dashboard tbody tr')].map((row) => "
        "[...row.cells].map((cell) => cell.textContent)).find((cells) => "
        "cells[0] === 'regression' && cells[1] === '2')"
    )
    eventually(
        "the table shows the rate and the latency",
        lambda: (cells := page.run(row)) and float(cells[3]) > 1 and cells[4].endswith(" ms"),
    )
    assert "requests per second" in page.text(".charts").lower()
    assert page.find(".charts path.line").get_attribute("d") != "M0 0"


def test_a_new_version_appears_by_itself(page: Page, server: Server, digits: Path) -> None:
    show(page, server, "digits")
    page.draw("canvas.pad", SEVEN)
    page.wait_for_text(".bars .best", "seven")
    shutil.copytree(digits / "2", digits / "copy")
    (digits / "copy").rename(digits / "3")
    try:
        page.wait_for_text(".title .state", "versions 3, 2, 1")
        page.press("Run")  # what was drawn is still there
        page.wait_for_text(".facts", "Version 3")
    finally:
        shutil.rmtree(digits / "3")
    page.wait_for_text(".title .state", "versions 2, 1")


def test_tensorflow_model_server_has_no_page_unless_asked(
    model_path: Callable[[str], Path], start_server: Callable[..., Server]
) -> None:
    base = f"--model_base_path={model_path('half_plus_two')}"
    assert start_server(base).get("/").status_code == 404
    enabled = start_server(base, "--enable_playground").get("/")
    assert enabled.status_code == 200
    assert "default-src 'none'" in enabled.headers["Content-Security-Policy"]
