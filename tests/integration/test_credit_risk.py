"""The example of a pipeline over named columns runs to its end, and has a page."""

import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.integration.chromium import browsing
from tests.integration.serving import eventually, run_command, running
from tests.integration.test_examples import EXAMPLES, environment

for module in ("skops", "pandas"):
    pytest.importorskip(module)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("example") / "credit_risk"
    script = EXAMPLES / "credit_risk" / "train.py"
    done = subprocess.run(
        [sys.executable, script, base],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "made-up people" in done.stdout
    return base


def test_the_walk_comes_to_its_end(tmp_path: Path) -> None:
    if not Path(sys.executable).with_name("tensorflow_model_server").exists():
        pytest.skip("the package is not installed, so there is no `tensorflow_model_server`")
    done = subprocess.run(
        [sys.executable, "-m", "examples.credit_risk", "--any-port", "--once"],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"predictions": ["repaid","defaulted"]' in done.stdout


def test_what_it_says_of_itself_fits_the_model(model: Path) -> None:
    done = run_command("salver", "show", str(model))
    assert done.returncode == 0, done.stderr
    assert "Credit risk (made-up data)" in done.stdout
    for wrong in ("has no such", "is not known", "labels for"):
        assert wrong not in done.stdout


def test_a_person_is_clicked_and_run_on_the_page(model: Path) -> None:
    if find_spec("selenium") is None:
        pytest.skip("selenium is not installed")
    flags = (f"--model_base_path={model}", "--model_name=credit_risk", "--enable_playground")
    with running(*flags) as server, browsing() as page:
        page.open(f"{server.url}/")
        body = page.driver

        def buttons(text: str) -> list[Any]:
            return [each for each in body.find_elements("tag name", "button") if each.text == text]

        for label in ("out of work, large loan", "Run"):
            (button,) = eventually(f"there is a button {label}", partial(buttons, label))
            button.click()

        def is_answered() -> bool:
            return "answered in" in body.find_element("tag name", "body").text

        eventually("it is answered", is_answered)
        text = body.find_element("tag name", "body").text
        assert "defaulted" in text
        assert "Income in a year (thousand €)" in text
