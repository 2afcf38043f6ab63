"""A page to upload pictures to, with Salver behind it.

python -m examples.upload_page [--once]
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from examples.walk import (
    PATIENCE_S,
    Failed,
    Options,
    model_server,
    must,
    read_options,
    run,
    say,
    step,
    stop,
    told,
    work_directory,
)  # fmt: skip

HERE = Path(__file__).resolve().parent


@contextmanager
def web_app(options: Options, log: Path, model_uri: str) -> Iterator[str]:
    """`python app.py`, ready; gives its URL."""
    port = options.port(5000)
    script = os.path.relpath(HERE / "app.py")
    say(f"$ MODEL_URI={model_uri} PORT={port} python {script}")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, script],
            env={**os.environ, "MODEL_URI": model_uri, "PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + PATIENCE_S
        while not is_up(url):
            if process.poll() is not None or time.monotonic() > until:
                raise Failed(f"The page did not come up:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)
        yield url
    finally:
        stop(process)


def is_up(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def upload(url: str, picture: Path) -> None:
    """Upload a picture as a browser does, and print what the page says."""
    with picture.open("rb") as file:
        answer = requests.post(url, files={"picture": (picture.name, file)}, timeout=60)
    must(answer.ok, f"{picture.name} is answered")
    words = re.sub(r"<[^>]*>", " ", answer.text[answer.text.index("<h1") :]).split()
    say(f"  {picture.name}: {' '.join(words).removesuffix(' Another picture')}")


def main() -> None:
    options = read_options(__doc__)
    with told():
        work = work_directory("upload_page")
        step("Train `pets`")
        # Its version directory is what the tutorial mounts: -v "C:\pets:/models/pets/1"
        version = work / "models" / "pets" / "1"
        run("python", "-m", "examples.upload_page.train", str(version))

        step("Serve it")
        flags = ["--model_name=pets", f"--model_base_path={version.parent.resolve()}"]
        with model_server(options, work / "server.log", options.port(8501), *flags) as server:
            step("The page")
            uri = f"{server.url}/v1/models/pets:predict"
            with web_app(options, work / "app.log", uri) as url:
                run("python", "-m", "examples.upload_page.draw", str(work))
                for kind in ("cat", "dog"):
                    upload(url, work / f"{kind}.png")
                if not options.once:
                    say(f"\nOpen {url} and upload {work}/cat.png, or any picture.")
                    say("Ctrl-C stops it.")
                    server.process.wait()


if __name__ == "__main__":
    main()
