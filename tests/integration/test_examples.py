"""The five tutorials of examples/ run to their ends, as a person would start them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.integration.chromium import DESKTOP, PHONE, Page, browsing
from tests.integration.serving import SOURCES, Lines, eventually, free_port

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
NEEDED = {
    "ten_images": ["sklearn"],
    "regression": ["sklearn"],
    "cats_and_dogs": ["PIL"],
    "notebook": ["PIL", "nbclient", "ipykernel", "matplotlib"],
    "upload_page": ["PIL", "flask", "flask_bootstrap"],
}


def command(name: str) -> list[str]:
    """What starts an example, on ports that are free; skips where it cannot run."""
    if not Path(sys.executable).with_name("tensorflow_model_server").exists():
        pytest.skip("the package is not installed, so there is no `tensorflow_model_server`")
    for module in ["keras", *NEEDED[name]]:
        if find_spec(module) is None:
            pytest.skip(f"{name} needs {module}, which is not installed")
    return [sys.executable, "-m", f"examples.{name}", "--any-port"]


def environment() -> dict[str, str]:
    paths = f"{ROOT}{os.pathsep}{SOURCES}"
    return {**os.environ, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def run_example(name: str, work: Path) -> str:
    """What an example prints until it ends; it must end well."""
    ended = subprocess.run(
        [*command(name), "--once"],
        env=environment(),
        cwd=work,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_ten_images_are_told_apart(tmp_path: Path) -> None:
    printed = run_example("ten_images", tmp_path)
    assert "10 of 10 are right" in printed
    predicted, true = (
        next(line for line in printed.splitlines() if line.startswith(start)).split()[1:]
        for start in ("predictions:", "labels:")
    )
    assert predicted == true
    assert len(predicted) == 10


def test_regression_is_served_by_path_by_version_and_by_label(tmp_path: Path) -> None:
    printed = run_example("regression", tmp_path)
    answers = re.findall(r'"predictions": (\[.*\])', printed)
    latest, first, second, production, test, *polled = (json.loads(each) for each in answers)
    assert latest == second == test
    assert first == production != second
    assert polled[-1] == second  # the label has moved
    seconds = float(re.findall(r"noticed after ([\d.]+) s", printed)[0])
    assert seconds < 25  # and not after the 30 seconds of the poll


def test_cats_and_dogs_are_answered_as_the_file_answers_without_a_server(tmp_path: Path) -> None:
    printed = run_example("cats_and_dogs", tmp_path)
    differences = re.findall(r"they differ by (\S+)", printed)
    assert len(differences) == 6  # a cat and a dog: one model, then two of one configuration
    assert max(map(float, differences)) <= 1e-6
    assert "models/model_2:predict" in printed


class TestNotebook:
    @staticmethod
    def outputs(notebook: Path) -> str:
        """All text that its cells gave."""
        cells = json.loads(notebook.read_text())["cells"]
        given = [output for cell in cells for output in cell.get("outputs", ())]
        return "".join(
            "".join(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
            for output in given
        )

    def test_every_cell_runs_and_shows_what_its_text_says(self, tmp_path: Path) -> None:
        run_example("notebook", tmp_path)
        text = self.outputs(tmp_path / ".examples" / "notebook" / "fashion.ipynb")
        assert "signature_def['serving_default']" in text
        assert "Exporting HTTP/REST API at:localhost:8501" in text
        assert text.count("Pullover\nT-shirt/top\nCoat\n") == 2  # by version 1, then by version 2
        missing = "Servable not found for request: Specific(fashion_model, 3)"
        assert f"404 {{'error': '{missing}'" in text
        assert "Done unloading servable version {name: fashion_model version: 2}" in text

    def test_it_is_kept_as_it_was_executed(self) -> None:
        notebook = json.loads((EXAMPLES / "notebook" / "fashion.ipynb").read_text())
        code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
        outputs: list[dict[str, Any]] = [each for cell in code for each in cell["outputs"]]
        assert not [each for each in outputs if each["output_type"] == "error"]
        assert len([each for each in outputs if "image/png" in each.get("data", {})]) == 4
        assert "Specific(fashion_model, 3)" in json.dumps(outputs)
        assert str(ROOT) not in json.dumps(notebook)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("upload_page")


@pytest.fixture(scope="module")
def upload_page_url(uploads: Path) -> Iterator[str]:
    """The example, running until the tests are over; then it must stop both its servers."""
    process = subprocess.Popen(
        command("upload_page"),
        env=environment(),
        cwd=uploads,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = Lines(process.stdout)
    try:
        yield lines.wait_for("Open http", within_s=180).split()[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, lines.text()
        assert lines.text().endswith("Stopped.")
    finally:
        process.kill()
        process.wait()
        lines.finish()


class TestUploadPage:
    @pytest.fixture
    def page(self, upload_page_url: str) -> Iterator[Page]:
        with browsing() as page:
            page.open(upload_page_url)
            yield page

    def upload(self, page: Page, file: Path) -> None:
        page.find("#picture").send_keys(str(file))
        page.press("Upload")

    @pytest.mark.parametrize("kind", ["cat", "dog"])
    def test_a_person_uploads_a_picture_and_sees_its_class(
        self, page: Page, uploads: Path, tmp_path: Path, kind: str
    ) -> None:
        self.upload(page, uploads / ".examples" / "upload_page" / f"{kind}.png")
        page.wait_for_text("#class", kind)
        assert "says version 1 of the model" in page.text("p")
        shown = page.find("img.img-fluid")
        loaded = "return arguments[0].naturalWidth"
        eventually("the picture is shown", lambda: page.run(loaded, shown) == 256)
        for size in (DESKTOP, PHONE):
            page.resize(size)
            assert page.run("return document.documentElement.scrollWidth") <= size[0]
        for scheme in ("dark", "light"):
            page.prefer(scheme)
            page.find(f"html[data-bs-theme={scheme}]")
        assert page.driver.save_screenshot(str(tmp_path / "page.png"))
        assert page.problems() == []

    def test_a_file_that_is_no_picture_is_refused_in_words(
        self, page: Page, tmp_path: Path
    ) -> None:
        (tmp_path / "<b>notes.txt").write_text("no picture")
        self.upload(page, tmp_path / "<b>notes.txt")
        page.wait_for_text(".alert", "<b>notes.txt is not a picture that can be read.")

    def test_without_a_model_server_or_with_too_large_a_file_it_says_so(
        self, tmp_path: Path
    ) -> None:
        command("upload_page")  # skips where it cannot run
        port = free_port()
        process = subprocess.Popen(
            [sys.executable, EXAMPLES / "upload_page" / "app.py"],
            env={
                **environment(),
                "PORT": str(port),
                "MODEL_URI": f"http://127.0.0.1:{free_port()}/v1/models/pets:predict",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        lines = Lines(process.stderr)
        url = f"http://127.0.0.1:{port}"
        try:
            lines.wait_for(f"Running on {url}")
            picture = (EXAMPLES / "upload_page" / "page.png").read_bytes()
            unreached = requests.post(url, files={"picture": ("a.png", picture)}, timeout=30)
            assert unreached.status_code == 502
            assert "cannot be reached" in unreached.text
            large = requests.post(url, files={"picture": ("a.png", bytes(9 << 20))}, timeout=30)
            assert large.status_code == 413
            assert "That is more than 8 MiB." in large.text
        finally:
            process.kill()
            process.wait()
            lines.finish()
