#!/usr/bin/env python3
"""Take the pictures of the playground that the documentation shows: docs/images/playground-*.png.

Needs the `dev` extra, TensorFlow, chromium and chromedriver; takes half a minute.
"""

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402
from tests.integration.chromium import DESKTOP, PHONE, Page, browsing  # noqa: E402
from tests.integration.serving import Server, eventually, running  # noqa: E402

IMAGES = ROOT / "docs" / "images"
SEVEN = [(-50, -80), (60, -80), (0, 90)]
WARMING_S = 45  # of traffic, so that the charts have something to show
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
MOST_BYTES = 300_000


def make_models(directory: Path) -> Path:
    """Train what is shown, and write its configuration."""
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    generator = ROOT / "tests" / "models" / "trained.py"
    subprocess.run([sys.executable, generator, directory / "made"], env=quiet, check=True)
    for version in ("1", "2"):
        assets = directory / "made" / "convnet" / version / "assets"
        assets.mkdir(exist_ok=True)
        (assets / "labels.txt").write_text("\n".join(DIGITS))
    entries = [
        f'config {{ name: "{name}" base_path: "{directory}/made/{of}" model_platform: "tensorflow"'
        f" model_version_policy {{ all {{}} }} {labels} }}"
        for name, of, labels in (
            ("digits", "convnet", 'version_labels { key: "stable" value: 1 } '
             'version_labels { key: "canary" value: 2 }'),
            ("house_prices", "regression", ""),
            ("mnist", "mlp", ""),
        )
    ]  # fmt: skip
    config = directory / "models.config"
    config.write_text("model_config_list {\n" + "\n".join(entries) + "\n}\n")
    return config


def keep_busy(server: Server, over: threading.Event) -> None:
    """Ask the models at an uneven pace until it is over."""
    random = np.random.default_rng(5)
    while not over.wait(float(random.uniform(0.001, 0.03))):
        rows = int(random.integers(1, 9))
        server.predict(
            "digits", random.random((rows, 8, 8, 1)).tolist(), int(random.integers(1, 3))
        )
        server.predict("house_prices", [[float(random.random())]])


def take(page: Page, name: str) -> None:
    file = IMAGES / f"playground-{name}.png"
    page.run("document.activeElement.blur(); scrollTo(0, 0)")
    page.driver.save_screenshot(str(file))
    assert file.stat().st_size < MOST_BYTES, file
    print(f"{file.relative_to(ROOT)}: {file.stat().st_size:,} bytes")


def draw(page: Page, server: Server) -> None:
    page.open(f"{server.url}/#/model/digits")
    page.draw("canvas.pad", SEVEN)
    page.wait_for_text(".bars .best", "seven")


def take_all(page: Page, server: Server) -> None:
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        page.resize((DESKTOP[0], 940))
        draw(page, server)
        take(page, scheme)
    page.prefer("light")
    page.select("[data-control=compare]", "1")
    page.wait_for_text(".pairs", "Difference")
    take(page, "compare")
    page.resize(PHONE)
    draw(page, server)
    take(page, "phone")


def take_dashboard(page: Page, server: Server) -> None:
    over = threading.Event()
    busy = threading.Thread(target=keep_busy, args=(server, over))
    page.resize((DESKTOP[0], 1080))
    page.open(f"{server.url}/#/dashboard")
    busy.start()
    try:
        over.wait(WARMING_S)
        take(page, "dashboard")
    finally:
        over.set()
        busy.join()


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        config = make_models(Path(scratch))
        with (
            running(
                f"--model_config_file={config}",
                "--allow_version_labels_for_unavailable_models",
                command="salver",
            ) as server,
            browsing() as page,
        ):
            eventually("both versions are up", lambda: len(server.states("digits")) == 2)
            take_all(page, server)
            take_dashboard(page, server)


if __name__ == "__main__":
    main()
