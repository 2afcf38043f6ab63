#!/usr/bin/env python3
"""Take the pictures of the playground that the documentation shows: docs/images/playground-*.png.

Needs the `dev` extra, TensorFlow, chromium and chromedriver; takes two minutes.
"""

import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
from tests.described import prices  # noqa: E402
from tests.integration.chromium import DESKTOP, PHONE, Page, browsing  # noqa: E402
from tests.integration.serving import Server, eventually, running  # noqa: E402

from salver.demo.models import DIGITS, Format, put_digits  # noqa: E402

IMAGES = ROOT / "docs" / "images"
SEVEN = [(-50, -80), (60, -80), (0, 90)]
WARMING_S = 60  # of traffic, so that the charts have something to show
MOST_BYTES = 300_000


def make_models(directory: Path) -> Path:
    """The model of `salver demo`, and one of columns; returns their configuration."""
    (directory / DIGITS).mkdir()
    for version in (1, 2):
        put_digits(directory / DIGITS, version, Format.SAVED_MODEL)
    prices(directory / "house_prices" / "1")
    config = directory / "models.config"
    config.write_text(
        "model_config_list {"
        + "".join(
            f'config {{ name: "{name}" base_path: "{directory}/{name}" '
            'model_platform: "tensorflow" model_version_policy { all {} } }'
            for name in (DIGITS, "house_prices")
        )
        + "}"
    )
    return config


def keep_busy(server: Server, over: threading.Event) -> None:
    """Ask the models at an uneven pace until it is over; some requests are wrong."""
    random = np.random.default_rng(5)
    while not over.wait(float(random.uniform(0.001, 0.03))):
        rows = int(random.integers(1, 9))
        pictures = (random.random((rows, 8, 8)) * 16).tolist()
        server.predict(DIGITS, pictures, int(random.integers(1, 3)))
        house = {"house": [60.0, 2.0, 30.0], "region": 1, "garden": True}
        server.predict("house_prices", [house])
        if random.random() < 0.02:
            server.predict("house_prices", ["no house"])


def take(page: Page, name: str) -> None:
    file = IMAGES / f"playground-{name}.png"
    page.run("document.activeElement.blur(); scrollTo(0, 0)")
    page.driver.save_screenshot(str(file))
    assert file.stat().st_size < MOST_BYTES, file
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes")


def draw(page: Page, server: Server) -> None:
    page.open(f"{server.url}/#/model/{DIGITS}")
    page.draw("canvas.pad", SEVEN)
    page.wait_for_text(".bars .best", "seven")


def take_all(page: Page, server: Server) -> None:
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        page.resize((DESKTOP[0], 1040))
        draw(page, server)
        take(page, scheme)
    page.prefer("light")
    page.press("a hard four")
    page.select("[data-control=compare]", "1")
    page.wait_for_text(".verdict", "They disagree")
    take(page, "compare")
    page.resize((DESKTOP[0], 900))
    page.open(f"{server.url}/#/model/house_prices")
    page.press("Run")
    page.wait_for_text(".big-number", "k€")
    take(page, "columns")
    page.resize(PHONE)
    draw(page, server)
    take(page, "phone")


def take_dashboard(page: Page, server: Server) -> None:
    """Of a server that was busy while nobody looked."""
    over = threading.Event()
    busy = threading.Thread(target=keep_busy, args=(server, over))
    page.open(f"{server.url}/playground/about")
    busy.start()
    try:
        over.wait(WARMING_S)
        page.resize((DESKTOP[0], 1180))
        page.open(f"{server.url}/#/dashboard")
        page.wait_for_text(".tiles", "All requests")
        over.wait(5)
        take(page, "dashboard")
    finally:
        over.set()
        busy.join()


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        config = make_models(Path(scratch))
        with (
            running(f"--model_config_file={config}", command="salver") as server,
            browsing() as page,
        ):
            eventually("both versions are up", lambda: len(server.states(DIGITS)) == 2)
            take_all(page, server)
            take_dashboard(page, server)


if __name__ == "__main__":
    main()
