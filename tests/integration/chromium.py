"""A real browser without a screen: Debian's chromium, driven through selenium."""

import os
import shutil
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select

from tests.integration.serving import eventually

__all__ = ["Page", "browsing", "font", "picture_file", "printed_digit"]

DESKTOP = (1280, 900)
PHONE = (390, 844)
_MISSING = (NoSuchElementException, StaleElementReferenceException)


class Page:
    """What a person does with a page. Everything waits until it is there."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Load an address anew, also where only its fragment differs."""
        self.driver.get("about:blank")
        self.driver.get(url)

    def resize(self, size: tuple[int, int], scale: float = 1) -> None:
        width, height = size
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {
                "width": width, "height": height,
                "deviceScaleFactor": scale, "mobile": width < 600,
            },
        )  # fmt: skip

    def prefer(self, scheme: str) -> None:
        """Let the system be `light` or `dark`."""
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )

    def find(self, selector: str) -> WebElement:
        """The first element, waited for."""

        def look() -> WebElement | None:
            try:
                return self.driver.find_element(By.CSS_SELECTOR, selector)
            except _MISSING:
                return None

        found: WebElement = eventually(f"there is a {selector}", look, within_s=20)
        return found

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The text of all such elements now, as a person sees it."""
        try:
            return "\n".join(element.text for element in self.all(selector))
        except _MISSING:
            return ""

    def wait_for_text(self, selector: str, part: str) -> str:
        """The text, once it has `part`."""
        seen = [""]

        def look() -> bool:
            seen[0] = self.text(selector)
            return part in seen[0]

        try:
            eventually(f"{part!r} stands in {selector}", look, within_s=20)
        except AssertionError as error:
            raise AssertionError(f"{error}; but {seen[0]!r}") from None
        return seen[0]

    def press(self, words: str, within: str = "body") -> None:
        """Click the button with these words."""
        path = f".//button[normalize-space(.)={words!r}] | .//summary[normalize-space(.)={words!r}]"

        def click() -> bool:
            try:
                self.find(within).find_element(By.XPATH, path).click()
            except _MISSING:
                return False
            return True

        eventually(f"there is a button {words}", click, within_s=20)

    def pick(self, legend: str, value: str) -> None:
        """Choose one of a few ways that stand side by side."""
        path = f"//fieldset[legend={legend!r}]//input[@value={value!r}]/following-sibling::span"

        def click() -> bool:
            try:
                self.driver.find_element(By.XPATH, path).click()
            except _MISSING:
                return False
            return True

        eventually(f"{legend} can be {value}", click, within_s=20)

    def select(self, selector: str, value: str) -> None:
        """Choose from a list, by the value of the option."""

        def choose() -> bool:
            try:
                Select(self.find(selector)).select_by_value(value)
            except _MISSING:
                return False
            return True

        eventually(f"{selector} offers {value}", choose, within_s=20)

    def type_into(self, selector: str, text: str) -> None:
        """Replace what stands in a field."""
        field = self.find(selector)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text or Keys.DELETE)

    def keys(self, *keys: str) -> None:
        """Type where the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def draw(self, selector: str, points: Sequence[tuple[int, int]]) -> None:
        """Draw a line with the mouse, in pixels from the middle of an element."""
        pad = self.find(selector)
        self.run("arguments[0].scrollIntoView({block: 'center'})", pad)
        pen = ActionChains(self.driver, duration=10)
        pen.move_to_element_with_offset(pad, *points[0]).click_and_hold()
        for point in points[1:]:
            pen.move_to_element_with_offset(pad, *point)
        pen.release().perform()

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def module(self, name: str, expression: str, *arguments: Any) -> Any:
        """What an expression of one of the page's modules, `m`, gives. May await."""
        answer = self.driver.execute_async_script(
            f"const done = arguments[arguments.length - 1], args = arguments;"
            f"import('/playground/js/{name}').then(async (m) => done([await ({expression})]))"
            f".catch((error) => done(String(error)));",
            *arguments,
        )
        assert isinstance(answer, list), answer
        return answer[0]

    def problems(self) -> list[str]:
        """What the browser complained of, but for answers of the API that are errors."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if "/v1/models" not in entry["message"]
        ]


@contextmanager
def browsing() -> Iterator[Page]:
    """A browser; the test is skipped where none is installed, unless `SALVER_CI` is set."""
    chromium = shutil.which("chromium")
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        reason = "chromium and chromedriver are not installed"
        if os.environ.get("SALVER_CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--hide-scrollbars", "--use-fake-device-for-media-stream",
                     "--use-fake-ui-for-media-stream"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    try:
        page = Page(driver)
        page.resize(DESKTOP)
        driver.set_script_timeout(20)
        yield page
    finally:
        driver.quit()


def printed_digit(
    path: Path, text: str, *, ink: int = 0, paper: int = 255, size: tuple[int, int] = (200, 160)
) -> Path:
    """A digit as one makes it in a drawing program: small, and off the middle."""
    picture = Image.new("L", size, paper)
    ImageDraw.Draw(picture).text((90, 40), text, fill=ink, font=font(70))
    picture.save(path)
    return path


def font(size: int) -> "ImageFont.FreeTypeFont":
    """One that comes with a package, whatever the system has."""
    found = find_spec("matplotlib")
    assert found is not None
    assert found.submodule_search_locations
    fonts = Path(found.submodule_search_locations[0], "mpl-data", "fonts", "ttf")
    return ImageFont.truetype(str(fonts / "DejaVuSans.ttf"), size)


def picture_file(pixels: "NDArray[np.uint8]") -> bytes:
    """A PNG. `pixels`: shape (height, width, 3)."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
