"""Two versions of a regression model, by path, by configuration, by label.

python -m examples.regression
"""

import json
import re
import time
from pathlib import Path

from examples.walk import (
    PATIENCE_S,
    Options,
    curl,
    model_server,
    must,
    read_options,
    run_script,
    say,
    step,
    told,
    work_directory,
)  # fmt: skip

HERE = Path(__file__).resolve().parent
MODEL = "regression_experiments"
LOADED = "Successfully loaded servable version"


def predict(url: str) -> list[float]:
    """The predictions for 1, 2 and 5, by the tutorial's curl."""
    printed = curl(
        "-X", "POST", f"{url}:predict",
        "-H", "Content-Type: application/json",
        "-d", '{"instances":[[1.0], [2.0], [5.0]]}',
    )  # fmt: skip
    return [row[0] for row in json.loads(printed)["predictions"]]


def write_config(project: Path, name: str) -> Path:
    """The tutorial's file, with the project directory in place of /myProject."""
    text = (HERE / name).read_text().replace("/myProject", str(project))
    (project / name).write_text(text)
    return project / name


def serve_latest(options: Options, project: Path) -> None:
    step("4.2 The latest version is served")
    flags = [f"--model_name={MODEL}", f"--model_base_path={project / 'saved_models'}"]
    port = options.port(9001)
    with model_server(options, project / "latest.log", port, *flags) as server:
        server.print_log(LOADED)
        # With one slash: the tutorial has it so, and curl takes it.
        curl("-X", "GET", f"http:/localhost:{port}/v1/models/{MODEL}")
        must(server.states(MODEL) == {2: "AVAILABLE"}, "only version 2 is served")
        predict(f"{server.url}/v1/models/{MODEL}")


def serve_all(options: Options, project: Path) -> None:
    step("4.3 Both versions, by cfg1.conf")
    flags = [
        "--allow_version_labels_for_unavailable_models",
        f"--model_config_file={write_config(project, 'cfg1.conf')}",
    ]
    port = options.port(9001)
    with model_server(options, project / "cfg1.log", port, *flags) as server:
        server.wait_until(MODEL, 1)
        server.wait_until(MODEL, 2)
        server.print_log(LOADED)
        curl("-X", "GET", f"http:/localhost:{port}/v1/models/{MODEL}")
        say("\n# call to model version 1")
        first = predict(f"{server.url}/v1/models/{MODEL}/versions/1")
        say("\n# call to model version 2")
        second = predict(f"{server.url}/v1/models/{MODEL}/versions/2")
        must(first != second, "the versions answer differently")


def serve_labels(options: Options, project: Path) -> None:
    step("4.4 and 4.5 Labels, by cfg2.conf, which is polled")
    config = write_config(project, "cfg2.conf")
    flags = [
        "--allow_version_labels_for_unavailable_models",
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=30",
    ]
    with model_server(options, project / "cfg2.log", options.port(9001), *flags) as server:
        server.wait_until(MODEL, 1)
        server.wait_until(MODEL, 2)
        model = f"{server.url}/v1/models/{MODEL}"
        say("\n# call to production model")
        production = predict(f"{model}/labels/production")
        say("\n# call to test model")
        test = predict(f"{model}/labels/test")
        must(production != test, "the labels name different versions")

        say("\n# the file is changed while the server runs: version 2 becomes production")
        config.write_text(re.sub(r"value: 1", "value: 2", config.read_text()))
        begun = time.monotonic()
        while predict(f"{model}/labels/production") != test:
            must(time.monotonic() - begun < PATIENCE_S, "the change is noticed")
            time.sleep(0.5)
        say(f"  noticed after {time.monotonic() - begun:.1f} s")


def main() -> None:
    options = read_options(__doc__)
    with told():
        project = work_directory("regression").resolve()
        step("3 Two models are trained")
        run_script(HERE / "create_models.py", str(project))
        serve_latest(options, project)
        serve_all(options, project)
        serve_labels(options, project)


if __name__ == "__main__":
    main()
