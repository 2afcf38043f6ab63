"""The demo of examples/digits runs to its end, and its model answers well on the page."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.chromium import browsing, printed_digit
from tests.integration.serving import running

DEMO = Path(__file__).resolve().parents[2] / "examples" / "digits" / "demo.py"
SEVEN = [(-50, -80), (60, -80), (0, 90)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def ended(directory: Path) -> "subprocess.CompletedProcess[str]":
    if not Path(sys.executable).with_name("salver").exists():
        pytest.skip("the package is not installed, so there is no `salver` command")
    return subprocess.run(
        [sys.executable, DEMO, "--once"],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_demo_swaps_versions_and_ends_by_itself(
    ended: "subprocess.CompletedProcess[str]", directory: Path
) -> None:
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "version 2 took over" in ended.stdout
    assert "The server stopped with exit status 0." in ended.stdout
    assert (directory / ".demo" / "models" / "digits" / "2" / "saved_model.pb").exists()


def test_its_model_reads_what_is_drawn_and_what_is_uploaded(
    ended: "subprocess.CompletedProcess[str]", directory: Path, tmp_path: Path
) -> None:
    assert ended.returncode == 0
    picture = printed_digit(tmp_path / "seven.png", "7")
    models = directory / ".demo" / "models" / "digits"
    with running(str(models), command="salver") as server, browsing() as page:
        page.open(f"{server.url}/#/model/digits")
        page.draw("canvas.pad", SEVEN)
        name, share = page.wait_for_text(".bars .best", "%").split("\n")
        assert name == "seven"
        assert float(share.removesuffix(" %")) > 90
        page.press("Clear")
        page.pick("How to give image", "picture")
        page.find("input[type=file]").send_keys(str(picture))
        page.wait_for_text(".found", "inverted")
        name, share = page.wait_for_text(".bars .best", "%").split("\n")
        assert name == "seven"
        assert float(share.removesuffix(" %")) > 90
