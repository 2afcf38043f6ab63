"""The example in examples/sentiment: trained, served, asked, and looked at."""

import sys
from pathlib import Path
from subprocess import run

import pytest

from tests.integration.chromium import browsing
from tests.integration.serving import SOURCES, Server, run_command, running

EXAMPLE = SOURCES.parent / "examples" / "sentiment"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model directory, with one version."""
    made = tmp_path_factory.mktemp("example") / "sentiment"
    done = run(
        [sys.executable, EXAMPLE / "train.py", made],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    right = float(done.stdout.partition("%")[0])
    assert right > 95
    return made


def ask(server: Server, *texts: str) -> list[bool]:
    answer = server.predict("sentiment", list(texts)).json()
    return [each["probabilities"][1] > 0.5 for each in answer["predictions"]]


@pytest.mark.parametrize("workers", [1, 2])
def test_it_tells_what_was_liked(base: Path, workers: int) -> None:
    with running(str(base), f"--workers={workers}", command="salver") as server:
        assert ask(
            server,
            "What a wonderful film!",
            "The film was not good at all.",
            "The soup was never bad.",
            "A dull story and awful acting",
        ) == [True, False, True, False]
        assert len(ask(server, *["What a lovely view."] * 600)) == 600
        assert server.predict("sentiment", [""]).status_code == 200


def test_it_is_shown_without_being_run(base: Path) -> None:
    shown = run_command("salver", "show", str(base)).stdout
    assert "inputs['text'] tensor_info:" in shown
    assert "Whether somebody liked it" in shown


def test_its_examples_can_be_clicked(base: Path) -> None:
    with running(str(base), command="salver") as server, browsing() as page:
        page.open(f"{server.url}/#/model/sentiment")
        page.wait_for_text("main", "Whether somebody liked it")
        page.press("not bad")
        page.wait_for_text("main", "positive")
        page.wait_for_text("main", "not bad (+)")
