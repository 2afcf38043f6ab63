"""What a model says of itself, and what the page makes of it: in a real browser."""

import io
import json
import math
import shutil
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from salver.demo.models import Format, put_digits
from tests.described import write_described
from tests.integration.chromium import DESKTOP, PHONE, Page, browsing, font, printed_digit
from tests.integration.serving import Server, eventually, running

HOSTILE = "<img src=x onerror=alert(1)>"
SEVEN = [(-50, -80), (60, -80), (0, 90)]
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
# The ways a person draws digits on the pad, in pixels from its middle.
DRAWN = {
    "zero": [(0, -80), (-45, -40), (-50, 30), (0, 85), (50, 30), (45, -40), (0, -80)],
    "one": [(0, -85), (0, 85)],
    "two": [(-45, -50), (-10, -85), (40, -60), (35, -10), (-50, 85), (55, 85)],
    "three": [(-40, -80), (40, -65), (30, -15), (-10, -5), (40, 20), (35, 70), (-40, 80)],
    "four": [(30, 85), (30, -85), (-50, 25), (55, 25)],
    "five": [(45, -80), (-35, -80), (-40, -10), (20, -20), (45, 30), (20, 80), (-45, 75)],
    "seven": [(-50, -80), (50, -80), (-10, 85)],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("models")
    write_described(base)
    (base / "digits").mkdir()
    for version in (1, 2):
        put_digits(base / "digits", version, Format.SAVED_MODEL)
    shutil.copytree(base / "mood", base / "wrong")
    (base / "wrong" / "1" / "assets" / "salver.json").write_text('{"title": 3}')
    shutil.copytree(base / "tags", base / "hostile")
    document = {
        "title": HOSTILE, "description": HOSTILE, "colour": HOSTILE,
        "signatures": {"serving_default": {
            "title": HOSTILE, "description": HOSTILE,
            "inputs": {"x": {"title": HOSTILE, "description": HOSTILE, "kind": "vector",
                             "names": [HOSTILE, "b", "c"], "unit": HOSTILE}},
            "outputs": {"tags": {"title": HOSTILE, "kind": "classes", "unit": HOSTILE,
                                 "labels": [HOSTILE, "b", "c"]}},
            "examples": [{"title": HOSTILE, "inputs": {"x": [1, 2, 3]}}],
        }},
    }  # fmt: skip
    (base / "hostile" / "1" / "assets" / "salver.json").write_text(json.dumps(document))
    shutil.copytree(base / "animal", base / "flagged")
    (base / "names.txt").write_text("ant\nbee\nwasp\n")
    plain = base / "unsaid"
    shutil.copytree(base / "digits", plain)
    for name in ("1", "2"):
        shutil.rmtree(plain / name / "assets")
    config = base / "models.config"
    config.write_text(
        "model_config_list {\n"
        + "".join(
            f'config {{ name: "{path.name}" base_path: "{path}" model_platform: "tensorflow" '
            "model_version_policy { all {} } }\n"
            for path in sorted(base.iterdir())
            if path.is_dir()
        )
        + "}\n"
    )
    flags = [f"--model_config_file={config}", f"--labels_file=flagged={base / 'names.txt'}"]
    with running(*flags, command="salver") as server:
        server.wait_until("unsaid", 2)
        yield server


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


def show(page: Page, server: Server, model: str, more: str = "") -> None:
    page.open(f"{server.url}/#/model/{model}{more}")
    page.wait_for_text("h1", model)
    page.find(".card .run")


def best(page: Page) -> str:
    """The class that is shown first, and its share."""
    return page.wait_for_text(".bars .best", "%").replace("\n", " ")


def upload(page: Page, *paths: Path) -> None:
    page.find("input[type=file]").send_keys("\n".join(map(str, paths)))


class TestDigits:
    @pytest.mark.parametrize("name", DRAWN)
    def test_what_is_drawn_is_read_and_the_reading_is_sure(
        self, page: Page, server: Server, name: str
    ) -> None:
        show(page, server, "digits")
        page.draw("canvas.pad", DRAWN[name])
        said = best(page)
        assert said.startswith(name)
        assert float(said.split()[1]) > 80

    def test_the_values_have_the_models_own_range(self, page: Page, server: Server) -> None:
        show(page, server, "digits")
        page.draw("canvas.pad", SEVEN)
        best(page)
        assert page.find("[data-setting=scale]").get_property("value") == "said"
        assert float(page.text(".preview .hint").rsplit(" ", 1)[1]) > 12
        assert "float32, ? × 8 × 8" in page.text(".input-title")
        assert page.all(".guess") == []

    @pytest.mark.parametrize("ink", [0, 255], ids=["ink_on_paper", "light_on_dark"])
    def test_an_uploaded_picture_is_read_whichever_way_it_is(
        self, page: Page, server: Server, tmp_path: Path, ink: int
    ) -> None:
        show(page, server, "digits")
        page.pick("How to give x", "picture")
        upload(page, printed_digit(tmp_path / "seven.png", "7", ink=ink, paper=255 - ink))
        assert best(page).startswith("seven")
        note = page.text(".found")
        assert ("dark on light, and the model wants light on dark: inverted" in note) == (ink == 0)

    def test_inverting_can_be_forbidden_and_allowed_again(
        self, page: Page, server: Server, tmp_path: Path
    ) -> None:
        show(page, server, "digits")
        page.pick("How to give x", "picture")
        upload(page, printed_digit(tmp_path / "seven.png", "7"))
        page.wait_for_text(".found", "inverted")
        seen = (
            "const copy = document.createElement('canvas').getContext('2d');"
            "copy.drawImage(document.querySelector('.preview canvas'), 0, 0);"
            "return copy.getImageData(0, 0, 1, 1).data[0]"
        )
        assert page.run(seen) < 40
        page.press("Do not invert")
        page.wait_for_text(".found", "It looks inverted.")
        assert page.run(seen) > 215
        assert page.find("[data-setting=invert]").get_property("value") == "no"
        page.press("Invert it")
        page.wait_for_text(".found", "light on dark: inverted")

    def test_ink_on_nothing_is_seen(self, page: Page, server: Server, tmp_path: Path) -> None:
        picture = Image.new("RGBA", (120, 120), (0, 0, 0, 0))
        ImageDraw.Draw(picture).text((30, 5), "4", fill=(0, 0, 0, 255), font=font(90))
        picture.save(tmp_path / "four.png")
        show(page, server, "digits")
        page.pick("How to give x", "picture")
        upload(page, tmp_path / "four.png")
        assert best(page).startswith("four")

    def test_several_pictures_go_as_one_batch(
        self, page: Page, server: Server, tmp_path: Path
    ) -> None:
        show(page, server, "digits")
        page.pick("How to give x", "picture")
        files = [printed_digit(tmp_path / f"{digit}.png", str(digit)) for digit in range(10)]
        (tmp_path / "none.png").write_text("no picture")
        upload(page, *files, tmp_path / "none.png")
        page.wait_for_text(".result tbody", "nine (")
        told = page.text(".drop")
        assert "10 pictures, sent as one batch." in told
        assert "none.png is no picture that this browser can read." in told
        rows = page.run(
            "return [...document.querySelectorAll('.result tbody tr')].map((row) => "
            "[row.querySelectorAll('canvas').length, row.lastChild.textContent.split(' ')[0]])"
        )
        assert rows == [[1, name] for name in NAMES]
        page.find("button[aria-label='Remove 3.png']").click()
        eventually("nine are left", lambda: len(page.all(".result tbody tr")) == 9)
        assert "three" not in page.text(".result tbody")

    @pytest.mark.parametrize("title", ["a seven", "a hard four", "a four on paper"])
    def test_an_example_is_a_click(self, page: Page, server: Server, title: str) -> None:
        show(page, server, "digits")
        page.press(title)
        name = "seven" if "seven" in title else "four"
        page.wait_for_text(".bars .best", name)
        page.select("[data-control=compare]", "1")
        page.wait_for_text(".verdict", "They disagree" if "hard" in title else f"Both say {name}")

    def test_an_example_on_the_pad_goes_when_something_is_drawn(
        self, page: Page, server: Server
    ) -> None:
        show(page, server, "digits")
        page.press("a zero")
        page.wait_for_text(".bars .best", "zero")
        page.draw("canvas.pad", SEVEN)
        page.wait_for_text(".bars .best", "seven")

    def test_a_second_version_is_asked_by_itself_about_what_stands_there(
        self, page: Page, server: Server, tmp_path: Path
    ) -> None:
        (tmp_path / "digits").mkdir()
        put_digits(tmp_path / "digits", 1, Format.SAVED_MODEL)
        with running(str(tmp_path / "digits"), command="salver") as own:
            show(page, own, "digits")
            page.draw("canvas.pad", SEVEN)
            page.wait_for_text(".facts", "Version 1")
            put_digits(tmp_path / "digits", 2, Format.SAVED_MODEL)
            page.wait_for_text(".facts", "Version 2")
            page.wait_for_text(".lead", "Digits, second version")
            assert best(page).startswith("seven")


def test_without_a_word_the_page_guesses_and_says_what(page: Page, server: Server) -> None:
    show(page, server, "unsaid")
    guess = page.wait_for_text(".guess", "Guessed")
    assert "that it is a picture, values from 0 to 1 and light marks on a dark ground" in guess
    page.draw("canvas.pad", SEVEN)
    page.wait_for_text(".result .guess", "Taken for classes, because the values add up to 1.")


class TestColumns:
    def test_a_row_is_a_form_with_names_units_and_choices(self, page: Page, server: Server) -> None:
        show(page, server, "prices")
        assert "House prices" in page.text(".lead")
        labels = page.text(".fields label").split("\n")
        assert labels == ["area (m²)", "rooms", "age (years)", "Region", "Garden"]
        fields = page.all(".fields input[type=text], .fields select")
        assert [field.get_property("value") for field in fields] == ["60", "2", "30", "north", "no"]
        page.select("[aria-label='Row 1, Region']", "south")
        page.press("Run")
        assert page.wait_for_text(".big-number", "k€") == "160 k€"
        assert page.text(".verdict") == "Below the threshold of 300 k€"
        sent = page.text(".snippets pre")
        assert '{"house": [60, 2, 30], "region": 1, "garden": false}' in sent

    def test_several_rows_are_a_table(self, page: Page, server: Server) -> None:
        show(page, server, "prices")
        page.press("two villas")
        page.wait_for_text(".result tbody", "705 k€")
        assert "530 k€" in page.text(".result tbody")
        assert page.text("table.cells thead").startswith("Row area (m²) rooms age (years) Region")
        page.find("button[aria-label='Remove row 2']").click()
        page.find(".fields")

    def test_a_number_out_of_range_is_marked_and_sent(self, page: Page, server: Server) -> None:
        show(page, server, "prices")
        page.type_into("[aria-label='Row 1, area']", "9000")
        assert (
            page.find("input.unusual").get_attribute("title") == "The model was made for 0 to 500."
        )
        page.press("Run")
        page.wait_for_text(".verdict", "At or above the threshold of 300 k€")

    def test_a_slider_moves_its_number(self, page: Page, server: Server) -> None:
        show(page, server, "tags")
        page.find("input[aria-label='red, slider']").send_keys("\ue010")  # End
        assert page.find("[aria-label='Row 1, red']").get_property("value") == "5"

    def test_what_comes_as_json_is_shown_by_its_choice(self, page: Page, server: Server) -> None:
        show(page, server, "prices")
        page.pick("Form or JSON", "json")
        row = {"house": [1, 2, 3], "region": 1, "garden": True}
        page.type_into("textarea.json", json.dumps({"instances": [row]}))
        page.pick("Form or JSON", "form")
        assert page.find("[aria-label='Row 1, Region']").get_property("value") == "south"
        assert page.find("[aria-label='Row 1, Garden']").get_property("value") == "yes"


class TestOutputs:
    def test_a_single_score_is_two_classes(self, page: Page, server: Server) -> None:
        show(page, server, "mood")
        page.press("short")
        page.wait_for_text(".verdict", "sad, at a threshold of 50 %")
        assert best(page).startswith("sad")
        page.press("long")
        page.wait_for_text(".result tbody", "happy (")

    def test_classes_that_reach_a_threshold_are_told(self, page: Page, server: Server) -> None:
        show(page, server, "tags")
        page.type_into("[aria-label='Row 1, red']", "3")
        page.type_into("[aria-label='Row 1, round']", "-3")
        page.type_into("[aria-label='Row 1, sweet']", "2")
        page.press("Run")
        page.wait_for_text(".verdict", "red, sweet, at 60 % or more")
        assert page.text(".bars .best .name").split("\n") == ["red", "sweet"]
        assert page.all(".bars .bar b") != []
        page.type_into("[aria-label='Row 1, red']", "-3")
        page.type_into("[aria-label='Row 1, sweet']", "-3")
        page.press("Run")
        page.wait_for_text(".verdict", "None reaches 60 %")

    def test_the_number_of_a_class_is_its_name_and_the_flag_names_it_first(
        self, page: Page, server: Server
    ) -> None:
        show(page, server, "animal")
        cells = page.all("table.cells input")
        cells[1].send_keys("0")  # 10
        page.press("Run")
        page.wait_for_text(".big-number", "dog")
        show(page, server, "flagged")
        page.all("table.cells input")[1].send_keys("0")
        page.press("Run")
        page.wait_for_text(".big-number", "bee")

    def test_labels_that_are_typed_in_come_before_the_models_own(
        self, page: Page, server: Server
    ) -> None:
        show(page, server, "digits")
        page.draw("canvas.pad", SEVEN)
        page.wait_for_text(".bars .best", "seven")
        page.press("Names of classes")
        assert page.wait_for_text(".labels", "As the model says.")
        page.type_into(".labels textarea", "\n".join("abcdefghij"))
        page.press("Use these names")
        page.wait_for_text(".bars .best", "h\n")


def test_a_model_of_ink_on_paper_gets_the_drawing_inverted(page: Page, server: Server) -> None:
    show(page, server, "paper")
    page.draw("canvas.pad", SEVEN)
    assert float(page.wait_for_text(".big-number", "0.")) > 0.5
    assert "values from −" in page.text(".preview .hint")


def test_a_sound_becomes_the_samples_that_the_model_takes(
    page: Page, server: Server, tmp_path: Path
) -> None:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        values = [round(16000 * math.sin(at / 5)) for at in range(16000)]
        file.writeframes(struct.pack("<16000h", *values))
    (tmp_path / "tone.wav").write_bytes(data.getvalue())
    show(page, server, "loudness")
    upload(page, tmp_path / "tone.wav")
    page.wait_for_text(".picture-editor", "8,000 samples, 1.0 s")
    page.press("Run")
    page.wait_for_text(".result", "8000")
    assert 0.4 < float(page.text(".big-number").split("\n")[0]) < 0.6


def test_a_wrong_document_is_told_of_and_the_model_answers(page: Page, server: Server) -> None:
    show(page, server, "wrong")
    told = page.wait_for_text(".lead", "cannot be used")
    assert "salver.json: title: text is wanted, not 3" in told
    page.find(".editor textarea").send_keys("a long and happy text")
    page.press("Run")
    page.wait_for_text(".big-number", "0.9")


def test_markup_in_a_document_stays_text(page: Page, server: Server) -> None:
    page.run("window.alert = () => { document.title = 'RUN' }")
    show(page, server, "hostile")
    page.find(".example-chip").click()
    page.wait_for_text(".bars .name", HOSTILE)
    for place in (
        ".lead",
        ".example-chip",
        ".fields label",
        ".about-model",
        ".output",
        ".lead .hint",
    ):
        assert HOSTILE in page.text(place) or "colour is not known" in page.text(place), place
    assert page.all("main img, main script") == []
    assert page.driver.title != "RUN"


class TestLinks:
    def link(self, page: Page) -> str:
        page.run("navigator.clipboard.writeText = async (text) => { window.copied = text }")
        page.press("Copy link")
        return str(eventually("it is copied", lambda: page.run("return window.copied")))

    def test_a_link_carries_the_input_and_runs_nothing_by_itself(
        self, page: Page, server: Server
    ) -> None:
        show(page, server, "digits")
        page.draw("canvas.pad", SEVEN)
        best(page)
        link = self.link(page)
        assert link.startswith(f"{server.url}/#/model/digits?signature=serving_default&input=")
        assert len(link) < 1000
        page.open(link)
        page.wait_for_text(".card .hint", "This input came with the link. Press Run.")
        assert page.text(".result .placeholder") == "The answer will appear here."
        page.press("Run")
        assert best(page).startswith("seven")

    def test_a_link_names_the_version(self, page: Page, server: Server) -> None:
        show(page, server, "digits")
        page.select("[data-control=version]", "version:1")
        page.press("a three")
        page.wait_for_text(".facts", "Version 1")
        page.open(self.link(page))
        page.wait_for_text(".card .hint", "came with the link")
        page.press("Run")
        page.wait_for_text(".facts", "Version 1")

    def test_what_the_form_has_no_place_for_is_shown_as_json(
        self, page: Page, server: Server
    ) -> None:
        show(page, server, "prices")
        page.pick("Form or JSON", "json")
        page.type_into("textarea.json", '{"instances": "wrong"}')
        page.open(self.link(page))
        page.wait_for_text(".card .hint", "came with the link")
        assert page.find("textarea.json").get_property("value") == '{"instances": "wrong"}'

    def test_what_is_too_large_for_a_link_is_told(self, page: Page, server: Server) -> None:
        show(page, server, "mood")
        page.run(
            "const area = document.querySelector('.editor textarea');"
            "const sign = () => Math.random().toString(36)[3];"
            "area.value = Array.from({length: 20000}, sign).join('');"
            "area.dispatchEvent(new Event('input'))"
        )
        page.press("Copy link")
        page.wait_for_text(".card .hint", "This input is too large for a link")

    @pytest.mark.parametrize("more", ["?signature=s&input=AAAA", "?input=%00", "?input=!"])
    def test_a_link_that_is_broken_is_told(self, page: Page, server: Server, more: str) -> None:
        show(page, server, "mood", more)
        page.wait_for_text(".error", "The input in this link cannot be read")

    def test_a_link_that_inflates_without_end_is_refused(self, page: Page, server: Server) -> None:
        bomb: Any = page.module(
            "link.js",
            "(async () => { const stream = new Blob(['x'.repeat(3e6)]).stream()"
            ".pipeThrough(new CompressionStream('deflate-raw'));"
            "const bytes = new Uint8Array(await new Response(stream).arrayBuffer());"
            "return btoa(String.fromCharCode(...bytes)).replaceAll('+', '-')"
            ".replaceAll('/', '_').replace(/=+$/, '') })()",
        )
        assert len(bomb) < 8000
        show(page, server, "mood", f"?input={bomb}")
        page.wait_for_text(".error", "The input in this link cannot be read")


class TestEarlierRuns:
    def runs(self, page: Page) -> list[str]:
        page.run("document.querySelector('.earlier').open = true")
        return [words for words in page.text(".runs .words").split("\n") if words]

    def test_they_are_listed_used_again_and_forgotten(self, page: Page, server: Server) -> None:
        show(page, server, "tags")
        assert not page.find(".earlier").is_displayed()
        for value in ("5", "-5"):
            page.type_into("[aria-label='Row 1, red']", value)
            page.press("Run")
            page.wait_for_text(".bars", "99.3 %" if value == "5" else "0.7 %")
        eventually("both are listed", lambda: len(self.runs(page)) == 2)
        show(page, server, "tags")  # also after the page was closed
        assert len(self.runs(page)) == 2
        page.all(".runs button")[1].click()
        page.wait_for_text(".bars", "99.3 %")
        assert page.find("[aria-label='Row 1, red']").get_property("value") == "5"
        assert len(self.runs(page)) == 2  # the same is not listed twice
        page.press("Forget them")
        eventually("none is left", lambda: not page.find(".earlier").is_displayed())
        show(page, server, "tags")
        assert not page.find(".earlier").is_displayed()

    def test_runs_on_change_are_kept_when_they_have_calmed_down(
        self, page: Page, server: Server
    ) -> None:
        show(page, server, "digits")
        page.draw("canvas.pad", [(-50, -80), (60, -80)])
        page.draw("canvas.pad", [(60, -80), (0, 90)])
        page.wait_for_text(".bars .best", "seven")
        eventually("it is listed", lambda: self.runs(page) != [])
        assert [words.split()[0] for words in self.runs(page)] == ["seven"]

    def test_they_stay_few_and_small(self, page: Page, server: Server) -> None:
        show(page, server, "mood")
        for at in range(25):
            page.type_into(".editor textarea", f"text {at}")
            page.press("Run")
            page.wait_for_text(".snippets", f"text {at}")
            page.find(".result:not([aria-busy])")
        eventually("they are kept", lambda: len(self.runs(page)) == 20)
        page.run(
            "const area = document.querySelector('.editor textarea');"
            "area.value = 'x'.repeat(9000);"
            "area.dispatchEvent(new Event('input'))"
        )
        page.press("Run")
        page.wait_for_text(".runs", "too large to keep")
        assert page.run("return localStorage['salver:runs:mood'].length") < 20 * 400


def test_a_lost_connection_is_told_and_found_again(page: Page, server: Server) -> None:
    show(page, server, "digits")
    page.wait_for_text(".models", "versions 2, 1")
    page.run(
        "window.trueFetch = fetch;"
        "window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))"
    )
    page.wait_for_text(".notice", "The connection was lost")
    page.wait_for_text(".notice", "s ago: the server does not answer. Trying again")
    assert page.run("return document.body.classList.contains('lost')")
    page.run("window.fetch = trueFetch")
    page.press("Try now")
    page.wait_for_text(".notice", "Connected again.")
    assert not page.run("return document.body.classList.contains('lost')")
    eventually("the notice goes", lambda: not page.find("#notice").is_displayed())
    page.draw("canvas.pad", SEVEN)
    assert best(page).startswith("seven")


def test_a_server_that_hangs_counts_as_lost(page: Page, server: Server) -> None:
    show(page, server, "digits")
    page.run(
        "window.trueFetch = fetch; AbortSignal.timeout = () => {"
        "const gone = new AbortController();"
        "setTimeout(() => gone.abort(new DOMException('late', 'TimeoutError')), 100);"
        "return gone.signal };"
        "window.fetch = (path, more) => new Promise((_, fail) => "
        "more?.signal?.addEventListener('abort', () => fail(more.signal.reason)))"
    )
    page.wait_for_text(".notice", "The connection was lost")
    page.run("window.fetch = trueFetch")
    page.wait_for_text(".notice", "Connected again.")


def test_run_on_change_is_remembered(page: Page, server: Server) -> None:
    show(page, server, "tags")
    page.find(".run .tick input").click()
    page.wait_for_text(".bars", "%")
    page.type_into("[aria-label='Row 1, red']", "5")
    page.wait_for_text(".bars", "99.3 %")
    show(page, server, "tags")
    assert page.find(".run .tick input").is_selected()


def test_nothing_is_wider_than_a_phone_and_no_word_is_broken(page: Page, server: Server) -> None:
    page.resize(PHONE)
    for model in ("digits", "prices", "mood", "tags", "animal", "paper", "loudness", "wrong"):
        show(page, server, model)
        assert page.run("return document.documentElement.scrollWidth") <= PHONE[0], model
        assert broken_words(page) == [], model
    page.open(f"{server.url}/#/dashboard")
    page.wait_for_text(".tiles", "All requests")
    assert page.run("return document.documentElement.scrollWidth") <= PHONE[0]
    assert broken_words(page) == []


def broken_words(page: Page) -> list[str]:
    """The words of which a part stands in another line."""
    found: list[str] = page.run(
        """
        const broken = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
          const parent = node.parentElement;
          if (!parent.checkVisibility() || parent.closest('.sr, pre')) continue;
          for (const match of node.data.matchAll(/[\\p{L}\\p{N}]+/gu)) {
            const range = document.createRange();
            range.setStart(node, match.index);
            range.setEnd(node, match.index + match[0].length);
            const tops = new Set([...range.getClientRects()].map((box) => Math.round(box.top)));
            if (tops.size > 1) broken.push(match[0]);
          }
        }
        return broken;"""
    )
    return found
